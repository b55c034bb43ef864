"""Statements that the event loop runs by itself: their values, their failures, and the statements after a failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import uvloop
from sqlalchemy import Connection, make_url, text

from services.domain.errors import Unavailable
from services.runtime.configuration.variables import POOLER_OPTION, TRANSACTION_POOLER
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl, count_waiting
from tests.support.link import link_to
from tests.support.waiting import TIMEOUT_SECONDS, until

TABLES = """
CREATE TABLE marks (
    number integer, is_set boolean, name text, content bytea,
    CONSTRAINT one_of_a_number UNIQUE (number) DEFERRABLE INITIALLY DEFERRED
)
"""
INSERT = "INSERT INTO marks VALUES ($1, $2, $3, $4)"


@pytest.fixture(params=["session", "pooled"])
async def database(request: pytest.FixtureRequest, postgres_url: MakeUrl) -> AsyncIterator[Database]:
    """Opens a database with the table, with a session of its own or as behind a pooler.

    Behind a pooler nothing is prepared.
    """
    url = make_url(postgres_url("policy"))
    if request.param == "pooled":
        url = url.update_query_dict({POOLER_OPTION: TRANSACTION_POOLER})
    database = open_database(url.render_as_string(hide_password=False))
    database.write_now(make_tables)
    yield database
    database.close()


def make_tables(connection: Connection) -> None:
    connection.execute(text(TABLES))


def read_marks(connection: Connection) -> list[tuple[int, bool, str, bytes]]:
    return [tuple(row) for row in connection.execute(text("SELECT * FROM marks ORDER BY number"))]


def end_sessions(connection: Connection) -> None:
    others = "datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'INSERT INTO marks%'"
    connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))


async def test_each_kind_of_value_is_stored(database: Database) -> None:
    """A value that is larger than what a socket takes at once is stored too."""
    large = bytes(range(256)) * 40_000
    stored = [(1, True, "冬\t\\", b"\x00\\\xff"), (2, False, "", large)]
    for mark in stored:
        assert await database.write_alone(INSERT, mark) == 1
    assert await database.write_alone("UPDATE marks SET name = $1", ["x"]) == 2
    assert await database.read(read_marks) == [(1, True, "x", b"\x00\\\xff"), (2, False, "x", large)]
    rows = await database.read_alone("SELECT number, is_set, name, NULL FROM marks ORDER BY number DESC")
    assert rows == [[b"2", b"f", b"x", b""], [b"1", b"t", b"x", b""]]


async def test_a_statement_that_fails_at_its_commit_has_failed(database: Database) -> None:
    """The server sends the result of the statement before it commits."""
    mark = (1, True, "a", b"")
    await database.write_alone(INSERT, mark)
    with pytest.raises(Exception, match="one_of_a_number"):
        await database.write_alone(INSERT, mark)
    assert await database.read(read_marks) == [mark]
    assert await database.write_alone(INSERT, (2, True, "b", b"")) == 1


def test_a_connection_that_the_server_has_reset_is_noticed_under_uvloop(postgres_url: MakeUrl) -> None:
    """The socket reports its error once, together with the server's last message. uvloop then watches it no longer."""
    direct = make_url(postgres_url("policy"))

    async def lose_a_connection() -> None:
        async with link_to(f"{direct.query['host']}/.s.PGSQL.5432") as link:
            host, _, port = link.address.rpartition(":")
            url = direct.set(host=host, port=int(port), query={})
            database = open_database(url.render_as_string(hide_password=False))
            await database.write(make_tables)
            await database.write_alone(INSERT, (1, True, "a", b""))
            connected = link.connection_count
            await database.write(end_sessions)
            await until(lambda: link.connection_count < connected)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(database.write_alone(INSERT, (2, True, "b", b"")), TIMEOUT_SECONDS)
            assert await database.write_alone(INSERT, (3, True, "c", b"")) == 1
            database.close()

    uvloop.run(lose_a_connection())


async def test_a_lost_connection_is_replaced(database: Database) -> None:
    await database.write_alone(INSERT, (1, True, "a", b""))
    await database.write(end_sessions)
    with pytest.raises(Unavailable):
        await database.write_alone(INSERT, (2, True, "b", b""))
    assert await database.write_alone(INSERT, (3, True, "c", b"")) == 1
    assert [number for number, *_ in await database.read(read_marks)] == [1, 3]


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold up every statement on the table until the block ends."""
    with database.engine.connect() as connection:
        connection.execute(text("LOCK TABLE marks"))
        yield


async def start_waiting(database: Database, number: int) -> asyncio.Task[int]:
    """Start a statement, and return once it waits for the table."""
    task = asyncio.create_task(database.write_alone(INSERT, (number, True, "", b"")))

    async def waits() -> bool:
        return await database.read(count_waiting) == 1

    await until(waits)
    return task


async def test_a_cancelled_statement_does_not_disturb_the_next(database: Database) -> None:
    """A cancelled statement may still be stored."""
    with locked(database):
        cancelled = await start_waiting(database, 1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        following = asyncio.create_task(database.write_alone(INSERT, (2, True, "", b"")))
    assert await following == 1
    assert await database.write_alone(INSERT, (3, True, "", b"")) == 1
    stored = [number for number, *_ in await database.read(read_marks)]
    assert stored in ([2, 3], [1, 2, 3])


async def test_a_statement_ends_before_its_connection_is_closed(database: Database) -> None:
    other = open_database(database.engine.url.render_as_string(hide_password=False))
    with contextlib.closing(other), locked(other):
        running = await start_waiting(database, 1)
        await asyncio.to_thread(database.close)
    assert await asyncio.wait_for(running, TIMEOUT_SECONDS) == 1
    with contextlib.closing(open_database(database.engine.url.render_as_string(hide_password=False))) as again:
        assert [number for number, *_ in await again.read(read_marks)] == [1]
