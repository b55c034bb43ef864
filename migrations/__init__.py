"""Alembic migrations, one tree for each service."""
