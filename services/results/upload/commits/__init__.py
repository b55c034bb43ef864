"""Commits validated batches: each by itself, or several of one upload together."""
