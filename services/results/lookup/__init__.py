"""Look-ups and listings of results."""
