"""Answering and publishing on this node: the book in memory, its questions, watchers and publications."""
