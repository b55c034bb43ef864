"""Kept settings: profiles of source systems."""
