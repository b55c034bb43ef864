"""Retention: purges and their deletion records."""
