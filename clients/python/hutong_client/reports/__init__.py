"""Reports that laboratories sign. Needs the packages of the extra `signed-reports`."""
