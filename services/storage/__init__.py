"""Databases: engines for SQLite and PostgreSQL, bounded executors, migrations, the memory of request ids."""
