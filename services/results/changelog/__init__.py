"""The change log: one entry for each commit, numbered within its writer."""
