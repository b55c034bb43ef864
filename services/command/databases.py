"""Opens databases of the services for a command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from services.runtime.configuration.settings import Settings
from services.storage.connections import find_sqlite_file
from services.storage.engine import Database, open_database
from services.storage.migrate import check_schema


@contextlib.contextmanager
def opened(settings: Settings, service: str) -> Iterator[Database]:
    """Open the database of a service while the block runs.

    Raises:
        UnusableDatabase: the database does not have this version's schema.
    """
    url = settings.service(service).database_url
    check_schema(service, url)
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


def is_within_reach(settings: Settings, service: str) -> bool:
    """Whether the database of a service is on a server or on this machine."""
    file = find_sqlite_file(settings.service(service).database_url)
    return file is None or file.exists()
