"""Databases: engines for SQLite and PostgreSQL, bounded executors, migrations, process locks and idempotency."""
