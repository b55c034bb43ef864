"""A province's copy of the nation's policies."""
