"""Reported refusals: validated, assessed, answered, listed and counted."""
