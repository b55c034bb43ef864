"""Indexes of large tables are built while the services write. A build that was interrupted is made again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, select, text

from services.domain.errors import Unavailable
from services.results.tables import metadata
from services.results.timeliness.delays import record_delays
from services.results.timeliness.tables import city_delays
from services.results.timeliness.totals import TotalsMaintainer
from services.results.timing import ResultsTiming
from services.storage.engine import Database, open_database
from services.storage.migrate import upgrade
from services.storage.schema.online_indexes import find_missing_in
from tests.support.databases import PostgresServer
from tests.support.results.factories import HOUR, NOW, USCC
from tests.support.results.store import add_lab
from tests.support.waiting import wait_until

INDEXES = ["ix_delays_new", "ix_national_delays_new"]
WAITING = (
    "FROM pg_stat_progress_create_index WHERE phase = 'waiting for old snapshots' AND datname = current_database()"
)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database of Results before the migration whose indexes are built online."""
    url = postgres_server.make_empty()
    upgrade("results", url, "0039")
    with contextlib.closing(open_database(url)) as opened:
        yield opened
    postgres_server.drop(url)


def upload(connection: Connection) -> None:
    record_delays(connection, USCC, [NOW - HOUR], NOW)


def count_included(connection: Connection) -> int:
    return connection.execute(select(func.coalesce(func.sum(city_delays.c.persons), 0))).scalar_one()


async def test_uploads_go_on_while_an_index_is_built(database: Database) -> None:
    """A transaction with an old snapshot holds the builds up. The first build is ended, the second one succeeds."""
    url = database.engine.url.render_as_string(hide_password=False)
    maintainer = TotalsMaintainer(database, dataclasses.replace(ResultsTiming(), totals_pause=0))

    def is_waiting() -> bool:
        with database.engine.connect() as watcher:
            return watcher.execute(text(f"SELECT count(*) {WAITING}")).scalar_one() == 1

    with ThreadPoolExecutor(1) as thread:
        with database.engine.connect() as reader, reader.begin():
            reader.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            reader.execute(text("SELECT 1"))
            ended = thread.submit(upgrade, "results", url)
            wait_until(is_waiting)
            with database.engine.connect() as operator:
                operator.execute(text(f"SELECT pg_terminate_backend(pid) {WAITING}"))
            with pytest.raises(Unavailable):
                ended.result()
            assert find_missing_in(url, metadata) == INDEXES
            building = thread.submit(upgrade, "results", url)
            wait_until(is_waiting)
            await database.write(add_lab, USCC, "410105")
            await database.write(upload)
            # Without the index, each step would read the whole table.
            await maintainer.include_new()
            assert await database.read(count_included) == 0
        building.result()
    assert find_missing_in(url, metadata) == []
    await maintainer.include_new()
    assert await database.read(count_included) == 1
