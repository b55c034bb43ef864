"""A province's copies of the nation's policies."""
