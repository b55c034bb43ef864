"""Profiles of source systems, and contexts of nodes: the commands that keep them."""
