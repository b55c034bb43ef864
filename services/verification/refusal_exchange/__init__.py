"""Exchanges reported refusals with other nodes, assesses received reports, and takes over overdue reports."""
