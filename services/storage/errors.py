"""The error for a database that waiting would not mend."""

from __future__ import annotations


class UnusableDatabase(ValueError):
    """No database, or one of a newer version: the operator must give another one, or another version of the service."""
