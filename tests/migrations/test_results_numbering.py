"""Tests of Results' revision 0002: the sequences of entries move to the writers' rows and continue there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from services.results.changelog.append import append_entry
from services.storage.engine import open_database
from services.storage.migrate import downgrade, upgrade
from tests.support.databases import PostgresServer
from tests.support.results.factories import NOW, USCC


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a database at schema revision 0001 with three writers.

    The first has all its entries, the oldest entries of the second were removed, and the third has none.
    """
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    made = server.make_empty() if isinstance(server, PostgresServer) else f"sqlite:///{tmp_path / 'results.db'}"
    upgrade("results", made, "0001")
    database = open_database(made)
    with database.engine.begin() as connection:
        for _ in range(3):
            connection.execute(text("INSERT INTO change_writers (start_time) VALUES (0)"))
        for writer, sequence in ((1, 1), (1, 2), (2, 5), (2, 6), (2, 7)):
            connection.execute(
                text("INSERT INTO changes VALUES (:writer, :sequence, 0, 'lab', :reports)"),
                {"writer": writer, "sequence": sequence, "reports": b""},
            )
    database.close()
    return made


def numbering(url: str) -> list[tuple[int, ...]]:
    database = open_database(url)
    try:
        query = text("SELECT writer_id, newest_sequence, removed_sequence FROM change_writers ORDER BY writer_id")
        return database.read_now(lambda connection: [tuple(row) for row in connection.execute(query)])
    finally:
        database.close()


def test_sequences_continue_after_the_migration(url: str) -> None:
    """Sequences continue, and removed entries are counted so that older cursors are refused.

    A downgrade and another upgrade give the same numbers.
    """
    upgrade("results", url)
    assert numbering(url) == [(1, 2, 0), (2, 7, 4), (3, 0, 0)]
    database = open_database(url)
    database.write_now(append_entry, USCC, [("R0", 1)], NOW)
    database.close()
    assert numbering(url)[0] == (1, 3, 0)
    downgrade("results", url, "0001")
    upgrade("results", url)
    assert numbering(url) == [(1, 3, 0), (2, 7, 4), (3, 0, 0)]
