"""One hot standby of PostgreSQL. Its own threads read it, each for a short time only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, exc, make_url

from services.runtime.configuration.variables import name_server
from services.runtime.tracing.spans import carried
from services.storage.connections import READ_THREADS, begin_transaction, create_standby_engine, is_pooled
from services.storage.errors import UnusableDatabase

R = TypeVar("R")


class StandbyFailed(Exception):
    """A standby did not answer.

    If `is_lost` is False, only this read failed, because replay removed rows that it needed.
    """

    def __init__(self, cause: str, *, is_lost: bool = True) -> None:
        super().__init__(cause)
        self.is_lost = is_lost


class NotReplayed(Exception):
    """A standby lacks something that a read needs. The text states the cause, which is a label of the metric."""


class Standby:
    """One hot standby.

    Attributes:
        name: its server and port, for logs and metrics.
        is_used: whether it was fresh enough when it was last asked.
    """

    def __init__(self, url: str) -> None:
        self.name = name_server(url)
        self.is_used = False
        self._is_pooled = is_pooled(make_url(url))
        self._engine = create_standby_engine(url)
        self._threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="db-standby")

    async def read(self, work: Callable[[Connection], R], seconds: float) -> R:
        """Run `work(connection)`, which only reads. Connections that do not answer in time are closed.

        Raises:
            StandbyFailed: the standby did not answer, or not in time.
        """
        reading = _Reading()
        run = carried("standby read", lambda: self._read_now(work, reading))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except TimeoutError:
            raise StandbyFailed(f"no answer within {seconds:g} s") from None
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected) as error:
            raise StandbyFailed(type(error).__name__, is_lost=False) from error
        except (psycopg.Error, exc.SQLAlchemyError, UnusableDatabase) as error:
            raise StandbyFailed(" ".join(str(error).split())) from error
        finally:
            reading.give_up()

    def _read_now(self, work: Callable[[Connection], R], reading: _Reading) -> R:
        with self._engine.connect() as connection:
            if self._is_pooled:
                # A pooler must send all statements to one session of one server.
                begin_transaction(connection)
            with reading.on(connection):
                return work(connection)

    def close(self) -> None:
        """Wait for running reads, then close every connection."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()


class _Reading:
    """A read that is under way. Another thread may end it by closing the connection."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._is_given_up = False

    @contextlib.contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Let `give_up` end the statements that run in the block."""
        driver: Any = connection.connection.driver_connection
        with self._guard:
            self._descriptor = None if self._is_given_up else driver.pgconn.socket
        try:
            if self._is_given_up:
                raise psycopg.OperationalError("the read was given up before it began")
            yield
        finally:
            with self._guard:
                self._descriptor = None

    def give_up(self) -> None:
        """End the read if it is still under way.

        The driver waits for the server without a time limit. Shutting down the socket ends that wait.
        """
        with self._guard:
            self._is_given_up = True
            if self._descriptor is None:
                return
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as shut:
                shut.shutdown(socket.SHUT_RDWR)
