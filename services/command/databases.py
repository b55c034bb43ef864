"""Opens databases of the services for a command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Connection, Table

from services.results.records.tables import pepper_marks as results_marks
from services.runtime.configuration.settings import Settings
from services.storage.connections import find_sqlite_file
from services.storage.engine import Database, open_database
from services.storage.migrate import check_schema
from services.storage.pepper_marks import check_marks, read_marks
from services.verification.stored_decisions.tables import pepper_marks as verification_marks

PEPPER_MARKS: Final[Mapping[str, Table]] = {"results": results_marks, "verification": verification_marks}
"""The marks of the services whose databases have keyed hashes of persons."""


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


def check_pepper(connection: Connection, settings: Settings, service: str) -> None:
    """Check that the pepper of the settings is the one under which the database of a service was filled.

    Raises:
        BadSetting: it is another one, or the pepper of a version is missing.
        UnusableDatabase: the database was filled by an older rule.
    """
    if (marks := PEPPER_MARKS.get(service)) is not None:
        check_marks(read_marks(connection, marks), settings.pepper())


def is_within_reach(settings: Settings, service: str) -> bool:
    """Whether the database of a service is on a server or on this machine."""
    file = find_sqlite_file(settings.service(service).database_url)
    return file is None or file.exists()
