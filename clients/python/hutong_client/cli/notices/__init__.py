"""Drafts of notices (通报) from the figures of supervision."""
