"""Counts decisions by node, place, purpose, outcome and hour. The counts have no identity."""
