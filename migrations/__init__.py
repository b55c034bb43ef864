"""Alembic trees, one for each service."""
