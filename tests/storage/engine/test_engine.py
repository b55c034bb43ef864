"""Databases as the services see them: transactions, one writer, outages; the same on both engines where it can be."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, exc, insert, make_url, select, text, update
from structlog.testing import capture_logs

from services.domain.errors import DeadlineExceeded, HutongError, InvalidArgument, ResourceExhausted, Unavailable
from services.runtime.call import Call, current_call
from services.storage.engine import BULK_READS_WAITING, Database, open_database
from services.storage.errors import UnusableDatabase
from services.storage.schema.fit import SchemaFit
from services.storage.statement_limits import TimeLimit, limited_short
from tests.support.databases import MakeUrl, with_default_limits
from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS, turns, until

catalogue = MetaData()
counters = Table("counters", catalogue, Column("name", String(50), primary_key=True), Column("value", Integer))


@pytest_asyncio.fixture
async def database(database_url: MakeUrl) -> AsyncIterator[Database]:
    """A database with one counter at 0; the test runs once on each engine."""
    opened = prepared(database_url("results"))
    yield opened
    opened.close()


@pytest_asyncio.fixture
async def sqlite(sqlite_url: MakeUrl) -> AsyncIterator[Database]:
    """As `database`, on SQLite."""
    opened = prepared(sqlite_url("results"))
    yield opened
    opened.close()


@pytest_asyncio.fixture
async def postgresql(postgres_url: MakeUrl) -> AsyncIterator[Database]:
    """As `database`, on PostgreSQL."""
    opened = prepared(postgres_url("results"))
    yield opened
    opened.close()


def prepared(url: str) -> Database:
    """A database with a table of the test's own."""
    opened = open_database(url)
    opened.write_now(catalogue.create_all)
    opened.write_now(lambda connection: connection.execute(insert(counters).values(name="a", value=0)))
    return opened


def value(connection: Connection) -> int:
    """The counter."""
    return int(connection.execute(select(counters.c.value)).scalar_one())


def put(connection: Connection, number: int) -> int:
    """Set the counter."""
    connection.execute(update(counters).values(value=number))
    return number


def count_up(connection: Connection) -> None:
    """Read the counter, then write it one higher. This is right only while no other transaction writes."""
    put(connection, value(connection) + 1)


async def test_a_write_is_there_when_it_returns(database: Database) -> None:
    """Every later read sees the write, and the write returns its answer."""
    assert await database.write(put, 7) == 7
    assert await database.read(value) == 7


async def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    """The exception is the caller's, the transaction is undone, and the next write goes through."""

    def fail(connection: Connection) -> None:
        put(connection, 7)
        raise KeyError("fault")

    with pytest.raises(KeyError, match="fault"):
        await database.write(fail)
    assert await database.read(value) == 0
    assert await database.write(put, 8) == 8


async def test_a_read_on_sqlite_changes_nothing(sqlite: Database) -> None:
    """What a read on SQLite writes by mistake is undone.

    On PostgreSQL its statements are in autocommit, so it must not write.
    """
    await sqlite.read(put, 7)
    assert await sqlite.read(value) == 0


async def test_reads_go_on_while_a_write_is_under_way(database: Database) -> None:
    """Reads do not see the write before it is committed."""
    written, go_on = threading.Event(), threading.Event()

    def slowly(connection: Connection) -> None:
        put(connection, 7)
        written.set()
        assert go_on.wait(TIMEOUT_SECONDS)

    writing = asyncio.ensure_future(database.write(slowly))
    await asyncio.to_thread(written.wait, TIMEOUT_SECONDS)
    assert await database.read(value) == 0
    go_on.set()
    await writing
    assert await database.read(value) == 7


async def test_a_cancelled_call_does_not_stop_the_transaction(database: Database) -> None:
    """The transaction ends as a whole. Here it is committed."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slowly(connection: Connection) -> None:
        put(connection, 7)
        begun.set()
        assert go_on.wait(TIMEOUT_SECONDS)
        put(connection, 8)
        ended.set()

    writing = asyncio.ensure_future(database.write(slowly))
    await asyncio.to_thread(begun.wait, TIMEOUT_SECONDS)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()
    await asyncio.to_thread(ended.wait, TIMEOUT_SECONDS)
    await asyncio.to_thread(database.close)
    assert database.read_now(value) == 8


async def test_sqlite_has_one_writer_among_many_threads(sqlite: Database) -> None:
    """No update is lost and no writer is refused, whether writes come by the executor or beside it."""
    await asyncio.gather(
        *(sqlite.write(count_up) for _ in range(30)),
        *(asyncio.to_thread(sqlite.write_now, count_up) for _ in range(30)),
    )
    assert await sqlite.read(value) == 60


COUNT = """
import sys
from services.storage.engine import open_database
from tests.storage.engine.test_engine import count_up
database = open_database(sys.argv[1])
for _ in range(30):
    database.write_now(count_up)
database.close()
"""


async def test_sqlite_has_one_writer_among_two_processes(sqlite: Database) -> None:
    """A migration or a second service may hold the lock. A later writer waits."""
    url = sqlite.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", COUNT, url]
    with started(command) as one, started(command) as other:
        for _ in range(30):
            await sqlite.write(count_up)
        assert [await asyncio.to_thread(each.wait) for each in (one, other)] == [0, 0]
    assert await sqlite.read(value) == 90


async def test_sqlite_is_as_durable_as_we_say(sqlite: Database) -> None:
    """WAL, full sync, foreign keys, and a wait for the lock, on connections for reading and for writing."""

    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names]

    assert await sqlite.read(pragmas) == ["wal", 2, 1, 10_000]
    assert await sqlite.write(pragmas) == ["wal", 2, 1, 10_000]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_needs_a_file(url: str) -> None:
    """In memory each connection would have a database of its own."""
    with pytest.raises(UnusableDatabase, match="needs a file"):
        open_database(url)


async def test_postgresql_is_as_we_say(postgres_url: MakeUrl) -> None:
    """Statements have a timeout, times are UTC, and the operator sees the name of the process.

    Options in the URL of the database take precedence.
    """

    def shown(connection: Connection) -> list[object]:
        names = ("statement_timeout", "TimeZone", "application_name", "transaction_isolation", "synchronous_commit")
        return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]

    usual = ["UTC", "hutong", "read committed", "on"]
    url = with_default_limits(postgres_url("policy"))
    given = make_url(url).update_query_dict({"options": "-c statement_timeout=7s", "application_name": "lab"})
    for opened, expected in (
        (url, [["1min", *usual], ["5s", *usual]]),
        (given.render_as_string(hide_password=False), [["7s", "UTC", "lab", *usual[2:]]] * 2),
    ):
        with contextlib.closing(open_database(opened)) as database:
            assert [await database.write(shown), await database.read(shown)] == expected


def close_all_others(connection: Connection) -> None:
    """Have the server close every other connection to this database, as a restart or a balancer does."""
    ours = "datname = current_database() AND pid <> pg_backend_pid()"
    connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {ours}"))


async def test_a_read_survives_a_connection_the_server_closed(postgresql: Database) -> None:
    """The read is made once more on a new connection, and its caller notices nothing."""
    other = open_database(postgresql.engine.url.render_as_string(hide_password=False))
    attempts = []

    def read(connection: Connection) -> int:
        attempts.append(connection)
        return value(connection)

    await postgresql.read(value)
    await other.read(close_all_others)
    assert await postgresql.read(read) == 0
    assert len(attempts) == 2
    other.close()


async def test_a_read_of_many_rows_survives_a_connection_the_server_closed(postgresql: Database) -> None:
    """The server closes the connection between the time limit and the read's statement. The read is made once more."""
    other = open_database(postgresql.engine.url.render_as_string(hide_password=False))
    attempts = []

    def read(connection: Connection) -> int:
        attempts.append(connection)
        if len(attempts) == 1:
            other.read_now(close_all_others)
        return value(connection)

    assert await postgresql.read_in_bulk(read) == 0
    assert len(attempts) == 2
    other.close()


async def test_a_write_is_never_made_twice(postgresql: Database) -> None:
    """Whether it was committed is not known: UNAVAILABLE, and the caller decides; the next one goes through."""
    other = open_database(postgresql.engine.url.render_as_string(hide_password=False))
    attempts = []

    def write(connection: Connection) -> None:
        attempts.append(connection)
        count_up(connection)

    await postgresql.write(value)
    await other.read(close_all_others)
    with pytest.raises(Unavailable):
        await postgresql.write(write)
    assert len(attempts) == 1
    await postgresql.write(write)
    assert await postgresql.read(value) == 1
    other.close()


async def test_a_lost_worker_of_citus_is_unavailable(sqlite: Database) -> None:
    """Citus gives an internal error for it. Every other internal error stays what it is."""

    def fail(_connection: Connection, text_: str) -> None:
        raise psycopg.errors.InternalError_(text_)

    for run in (sqlite.write, sqlite.read):
        for lost in (
            "failure on connection marked as essential: 127.0.0.1:5432",
            "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
        ):
            with pytest.raises(Unavailable):
                await run(fail, lost)
        with pytest.raises(psycopg.errors.InternalError_):
            await run(fail, "cache lookup failed for relation 1")


async def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    """The error has a reason and a delay. The cause is in the log, and the password is nowhere."""
    away = open_database(f"postgresql://hutong:t0psecret@/results?host={tmp_path}")
    with capture_logs() as logs:
        for attempt in (away.read(value), away.write(value), away.check()):
            with pytest.raises(HutongError) as caught:
                await attempt
            assert isinstance(caught.value, Unavailable)
            assert caught.value.reason == "DATABASE_UNAVAILABLE"
            assert caught.value.retry_after
    assert [(line["event"], line["error"]) for line in logs] == [("database unavailable", "OperationalError")] * 3
    assert "t0psecret" not in f"{logs} {away.engine!r}"
    away.close()


async def test_a_text_with_nul_is_a_fault_of_the_request(postgresql: Database) -> None:
    """PostgreSQL has no such text. SQLite finds nothing."""
    with pytest.raises(InvalidArgument, match="NUL"):
        await postgresql.read(lambda connection: connection.execute(select(counters).where(counters.c.name == "\0")))
    with pytest.raises(InvalidArgument, match="NUL"):
        await postgresql.write(lambda connection: connection.execute(insert(counters).values(name="\0", value=1)))


async def test_a_violated_constraint_is_the_callers_affair(database: Database) -> None:
    """The error passes unchanged, and its text does not show the content of the row."""

    def again(connection: Connection) -> None:
        connection.execute(insert(counters).values(name="a", value=1880010117))

    with pytest.raises(exc.IntegrityError) as caught:
        await database.write(again)
    assert "1880010117" not in str(caught.value)


@pytest.mark.parametrize("fit", SchemaFit)
async def test_the_check_asks_for_the_schema(fit: SchemaFit, database_url: MakeUrl) -> None:
    """A database whose schema is too old is not healthy.

    SQLite must have the newest schema, because a start migrates it.
    """
    opened = open_database(database_url("results"), lambda _connection: fit)
    if fit is SchemaFit.CURRENT or (fit is SchemaFit.OLDER and not opened.is_sqlite):
        await opened.check()
    else:
        with pytest.raises(Unavailable, match="hutongd migrate"):
            await opened.check()
    opened.close()


async def test_reads_of_many_rows_do_not_hold_up_others(database: Database) -> None:
    """As many reads as may wait are under way or waiting.

    Another kind of read is answered meanwhile. One more is refused.
    """
    release = threading.Event()

    def stay(connection: Connection) -> int:
        release.wait()
        return value(connection)

    try:
        staying = [asyncio.ensure_future(database.read_in_bulk(stay)) for _ in range(BULK_READS_WAITING)]
        await turns(1)
        assert await database.read(value) == 0
        with pytest.raises(ResourceExhausted) as refused:
            await database.read_in_bulk(value)
        assert refused.value.reason == "OVERLOADED"
        assert refused.value.retry_after
        staying[-1].cancel()
        await asyncio.wait([staying[-1]])
        dropped = asyncio.ensure_future(database.read_in_bulk(stay))
    finally:
        release.set()
    assert await asyncio.gather(*staying[:-1], dropped) == [0] * BULK_READS_WAITING


def statement_timeout(connection: Connection) -> str:
    return str(connection.execute(text("SHOW statement_timeout")).scalar_one())


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_statement_ends_with_the_time_of_its_caller(database: Database) -> None:
    """An endless read of many rows fails at the caller's deadline.

    If it went on, no other read of many rows would be answered. Other reads keep their timeout.
    """
    call = Call("test")
    call.deadline = asyncio.get_running_loop().time() + 0.2
    current_call.set(call)
    with pytest.raises(DeadlineExceeded), capture_logs() as logs:
        await database.read_in_bulk(lambda connection: connection.execute(text(ENDLESS)).scalar())
    assert logs == []
    with pytest.raises(DeadlineExceeded):
        await database.read_in_bulk(value)
    call.deadline = None
    assert await database.read_in_bulk(value) == 0
    if not database.is_sqlite:
        assert await database.read(statement_timeout) == "1min"


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_statement_ends_when_its_caller_is_gone(sqlite: Database, *, bulk: bool) -> None:
    """On PostgreSQL it ends with the time of the caller, or after five seconds, only."""
    read = sqlite.read_in_bulk if bulk else sqlite.read
    ended = threading.Event()
    begun = threading.Event()

    def count(connection: Connection) -> None:
        begun.set()
        try:
            connection.execute(text(ENDLESS))
        finally:
            ended.set()

    reading = asyncio.ensure_future(read(count))
    await until(begun.is_set)
    reading.cancel()
    await asyncio.wait([reading])
    await until(ended.is_set)
    assert await read(value) == 0


def count_endlessly(connection: Connection) -> None:
    """On PostgreSQL the limit of the connection is shorter than usual."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET statement_timeout = 100")
    connection.execute(text(ENDLESS))


async def test_a_short_read_ends_with_the_time_of_its_caller(database: Database) -> None:
    """On PostgreSQL it ends at the limit of its connection. A read that waited too long is not begun."""
    call = Call("test")
    call.deadline = asyncio.get_running_loop().time() + 0.05
    current_call.set(call)
    with pytest.raises(DeadlineExceeded), capture_logs() as logs:
        await database.read(count_endlessly)
    assert logs == []
    with pytest.raises(DeadlineExceeded):
        await database.read(value)
    call.deadline = None
    assert await database.read(value) == 0


async def test_a_short_read_that_takes_long_fails_for_a_caller_that_waits(database: Database) -> None:
    """The caller may try again. The connection can be used afterwards."""

    def count(connection: Connection) -> None:
        with limited_short(connection, TimeLimit(math.inf), 0.1):
            count_endlessly(connection)

    with pytest.raises(Unavailable, match="took too long") as slow:
        await database.read(count)
    assert slow.value.retry_after
    assert await database.read(value) == 0
