"""Single statements on PostgreSQL. Each is its own transaction, and the event loop runs it without a thread.

A thread would share the interpreter with the event loop. While the loop is busy, the thread would wait milliseconds for
the interpreter after each round trip to the database.

The statements use libpq through psycopg's own wrapper. For a statement, a cursor of psycopg takes one and a half times
the processor time in this process, because it chooses a type for each value anew and makes a task for each wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from services.runtime.tracing.drivers import statement_span

_BOOLEAN, _BYTES, _INTEGER, _TEXT = 16, 17, 20, 25
"""Numbers of PostgreSQL's types: boolean, bytea, bigint and text."""
_DONE = {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}


class LoneStatements:
    """Runs statements one after another on its own connection. The connection is made at the first use.

    `connect_args` are the driver's own.
    """

    def __init__(self, connect_args: Mapping[str, Any]) -> None:
        self._connect_args = dict(connect_args)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        # The names under which this connection has prepared statements, by statement and types.
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._one_at_a_time = asyncio.Lock()
        self._is_closed = False

    async def run(self, statement: str, parameters: Sequence[int | str | bytes]) -> int:
        """Run a statement, which is durable when this returns. Return how many rows it changed.

        The statement names its parameters $1, $2 and so on. After a failure, the next statement gets a new connection.

        Raises:
            psycopg.Error: the statement may or may not have been committed.
        """
        return (await self._execute(statement, parameters)).command_tuples or 0

    async def read(self, statement: str) -> list[list[bytes]]:
        """Run a query without parameters. Return its rows, with values as PostgreSQL writes them, NULL as no bytes.

        Raises:
            psycopg.Error: the query failed.
        """
        found = await self._execute(statement, ())
        columns = range(found.nfields)
        return [[found.get_value(row, column) or b"" for column in columns] for row in range(found.ntuples)]

    async def _execute(self, statement: str, parameters: Sequence[int | str | bytes]) -> PGresult:
        encoded = [_encode(parameter) for parameter in parameters]
        types = tuple([one[0] for one in encoded])
        values, formats = [one[1] for one in encoded], [one[2] for one in encoded]
        async with self._one_at_a_time:
            connection = await self._connect()
            with statement_span("postgresql", statement):
                try:
                    if connection.prepare_threshold is None:
                        # A pooler gives each transaction another session, in which nothing is prepared.
                        command = statement.encode()
                        done = await _finish(
                            connection.pgconn,
                            lambda server: server.send_query_params(command, values, types, formats),
                        )
                    else:
                        name = await self._prepare(connection.pgconn, statement, types)
                        done = await _finish(
                            connection.pgconn, lambda server: server.send_query_prepared(name, values, formats)
                        )
                except BaseException:
                    # After a failure or a cancellation the state of the connection is not known.
                    connection.pgconn.finish()
                    raise
            if self._is_closed:
                connection.pgconn.finish()
        return done

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        connection = self._connection
        if connection is None or connection.closed:
            connection = await psycopg.AsyncConnection.connect(autocommit=True, **self._connect_args)
            self._connection = connection
            self._prepared.clear()
        return connection

    async def _prepare(self, server: PGconn, statement: str, types: tuple[int, ...]) -> bytes:
        name = self._prepared.get((statement, types))
        if name is None:
            name = b"lone_%d" % len(self._prepared)
            new = name
            await _finish(server, lambda server: server.send_prepare(new, statement.encode(), types))
            self._prepared[statement, types] = name
        return name

    def close(self) -> None:
        """Close the connection, after the statement that is running. This may be called outside the event loop.

        If the connection were closed under a statement, the statement would wait for ever, and the event loop would
        watch a socket whose number another connection may get.
        """
        self._is_closed = True
        if self._connection is not None and not self._one_at_a_time.locked():
            self._connection.pgconn.finish()


def _encode(value: int | str | bytes) -> tuple[int, bytes, int]:
    """Return a value's type, bytes and format."""
    if isinstance(value, bytes):
        return _BYTES, value, Format.BINARY
    if isinstance(value, str):
        return _TEXT, value.encode(), Format.TEXT
    if isinstance(value, bool):
        return _BOOLEAN, b"t" if value else b"f", Format.TEXT
    return _INTEGER, b"%d" % value, Format.TEXT


async def _finish(server: PGconn, send: Callable[[PGconn], None]) -> PGresult:
    """Send one command, and wait until the server is ready for the next command. The event loop is not blocked.

    Raises:
        psycopg.Error: the command, its commit or the connection failed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    results: list[PGresult] = []

    def go_on() -> None:
        try:
            if not server.flush():
                loop.remove_writer(socket)
            server.consume_input()
            # The commit follows the result of the statement. The loop therefore reads until there is no further result.
            while not server.is_busy():
                result = server.get_result()
                if result is None:
                    if not done.done():
                        done.set_result(None)
                    return
                results.append(result)
            # After an error of the socket, such as a reset by the server, uvloop calls `go_on` once and then stops
            # watching the socket.
            loop.remove_reader(socket)
            loop.add_reader(socket, go_on)
        except psycopg.Error as error:
            if not done.done():
                done.set_exception(error)

    send(server)
    socket = server.socket
    loop.add_reader(socket, go_on)
    try:
        if server.flush():
            loop.add_writer(socket, go_on)
        await done
    finally:
        loop.remove_reader(socket)
        loop.remove_writer(socket)
    for result in results:
        if result.status not in _DONE:
            raise error_from_result(result)
    return results[0]
