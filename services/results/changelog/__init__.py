"""The change log: one entry for each commit, in the order of its writer."""
