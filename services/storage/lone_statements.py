"""Single statements on PostgreSQL. Each is its own transaction, and the event loop runs it without a thread.

A thread shares the interpreter with the event loop. If the loop is busy, the thread waits milliseconds for the
interpreter after each round trip to the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from services.runtime.tracing.drivers import statement_span


class LoneStatements:
    """Runs statements one after another on its own connection. The connection is made at the first use.

    `connect_args` are the driver's own.
    """

    def __init__(self, connect_args: Mapping[str, Any]) -> None:
        self._connect_args = dict(connect_args)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._cursor: psycopg.AsyncCursor[Any] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run a statement, which is durable when this returns. Return how many rows it changed.

        A connection that failed is replaced for the next statement.

        Raises:
            psycopg.Error: the statement may or may not have been committed.
        """
        async with self._one_at_a_time:
            connection = self._connection
            if connection is None or connection.closed:
                connection = await psycopg.AsyncConnection.connect(autocommit=True, **self._connect_args)
                # Making a cursor costs half as much as running a statement. All statements therefore share a cursor.
                self._connection, self._cursor = connection, connection.cursor()
            assert self._cursor is not None
            with statement_span("postgresql", statement):
                return (await self._cursor.execute(statement, parameters)).rowcount

    def close(self) -> None:
        """Close the connection. This may be called outside the event loop."""
        if self._connection is not None:
            self._connection.pgconn.finish()
