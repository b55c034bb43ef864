"""The register of laboratories."""
