"""Backups of SQLite databases, and their restore."""
