"""Commits on Citus: no reader of the log passes over rows that a machine has not committed yet.

Without HUTONG_TEST_CITUS_URL there is nothing to test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy import Connection, text

from services.domain.errors import Unavailable
from services.results.changelog.append import append_entry
from services.results.changelog.log import read_entries
from services.storage.advisory_locks import AdvisoryLock
from services.storage.connections import is_distributed
from services.storage.distributed import require_settled
from tests.support.citus import connect
from tests.support.citus_servers import find_nodes
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, USCC, make_tube
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(
    not os.environ.get("HUTONG_TEST_CITUS_URL"), reason="HUTONG_TEST_CITUS_URL names no Citus"
)
LEFT = "citus_0_1_4000000000_1"
"""The name of a prepared transaction whose coordinator's transaction has ended long ago."""


@pytest.fixture
async def citus(citus_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """As `laboratory`, on Citus."""
    async with open_laboratory(citus_url("results")) as opened:
        yield opened


@contextlib.contextmanager
def left_behind(url: str) -> Iterator[None]:
    """Leave a prepared transaction on a worker, as a crash does, and let Citus not end it meanwhile."""
    coordinator, worker, *_ = find_nodes(url)
    with connect(coordinator.url) as kept, kept.transaction(), connect(worker.url) as session:
        # The recovery of Citus writes this table.
        kept.execute("LOCK TABLE pg_dist_transaction IN SHARE MODE")
        session.execute("BEGIN")
        session.execute(f"PREPARE TRANSACTION '{LEFT}'")
        try:
            yield
        finally:
            session.execute(f"ROLLBACK PREPARED '{LEFT}'")


async def test_a_commit_that_a_lost_machine_has_still_to_make_is_awaited(citus: Laboratory) -> None:
    """The log is not read meanwhile, and afterwards it is read completely. A purge waits too."""
    await citus.send([make_tube(0)])
    url = citus.database.engine.url.render_as_string(hide_password=False)
    with left_behind(url):
        for read in (lambda connection: read_entries(connection, {}), require_settled):
            with pytest.raises(Unavailable, match="has not committed everything"):
                await citus.database.read(read)
    (entry,) = await citus.database.read(read_entries, {})
    assert entry.reports == [("R0", 1)]


async def test_an_entry_is_read_once_all_machines_have_committed(citus: Laboratory) -> None:
    """The writer's lock is held until then, and a reader waits for it."""
    await citus.send([make_tube(0)])
    url = citus.database.engine.url.render_as_string(hide_password=False)

    def is_waiting(connection: Connection) -> bool:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :lock AND NOT granted")
        return bool(connection.execute(waiting, {"lock": int(AdvisoryLock.LOG_WRITER)}).scalar_one())

    async def is_reader_waiting() -> bool:
        return await citus.database.read(is_waiting)

    (entry,) = await citus.database.read(read_entries, {})
    with psycopg.connect(url.replace("+psycopg", "")) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", (int(AdvisoryLock.LOG_WRITER), entry.writer_id))
        reading = asyncio.ensure_future(citus.database.read(read_entries, {}))
        await until(is_reader_waiting)
        assert not reading.done()
        other.rollback()
        assert [one.reports for one in await reading] == [[("R0", 1)]]


async def test_an_entry_and_a_row_of_one_machine_are_committed_in_two_phases(citus: Laboratory) -> None:
    """Citus would commit on the machine first, and the coordinator could be lost before its own commit."""
    await citus.send([make_tube(0)])
    commands: list[str] = []

    def change(connection: Connection) -> None:
        assert is_distributed(connection)
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.add_notice_handler(lambda notice: commands.append(notice.message_primary or ""))
        connection.execute(text("SET LOCAL citus.log_remote_commands = on"))
        connection.execute(text("UPDATE uploads SET update_time = 1 WHERE lab = :lab"), {"lab": USCC})
        append_entry(connection, USCC, [("R0", 1)], NOW)

    await citus.database.write(change)
    assert any("PREPARE TRANSACTION" in command for command in commands), commands


async def test_a_commit_that_a_lost_machine_did_not_make_is_not_acknowledged(citus: Laboratory) -> None:
    """Citus warns of it, and the caller hears that nothing is certain."""

    def warn(connection: Connection) -> None:
        connection.exec_driver_sql("DO $$ BEGIN RAISE WARNING 'failed to commit transaction on 127.0.0.1:5432'; END $$")

    with pytest.raises(Unavailable, match="has not committed everything"):
        await citus.database.write(warn)
    await citus.send([make_tube(0)])
