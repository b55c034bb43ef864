"""Exchanges reported refusals with the nodes above and below, assesses those that come, and takes over overdue ones."""
