"""Removing what is no longer to be kept, and proving it."""
