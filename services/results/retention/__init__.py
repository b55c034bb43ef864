"""Retention: purges, and the records of them."""
