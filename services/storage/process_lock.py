"""Process locks. At most one process does a task with a database. The lock ends with the process, even in a crash.

On PostgreSQL a process lock is an advisory lock of a transaction. On SQLite it is a lock on a file beside the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from hutong_texts import english
from hutong_texts.system import system_text
from sqlalchemy import URL, make_url

from services.storage.advisory_locks import AdvisoryLock
from services.storage.connections import make_directory
from services.storage.engine import Database
from services.storage.errors import UnusableDatabase


@contextlib.contextmanager
def try_process_lock(database: Database, task: str, key: AdvisoryLock, *, is_shared: bool = False) -> Iterator[bool]:
    """Try to lock a task while the block runs. Yield False if another process holds the lock.

    `task` names the lock file of a SQLite database, `key` is the advisory lock on PostgreSQL. With `is_shared`, any
    number of callers may hold the lock together, but not beside a caller that holds it alone.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, the PostgreSQL server cannot be reached.
        UnusableDatabase: no file can be written beside the SQLite database.
    """
    if database.is_sqlite:
        with try_sqlite_process_lock(database.engine.url, task, is_shared=is_shared) as is_held:
            yield is_held
    else:
        with database.hold() as transaction:
            function = "pg_try_advisory_xact_lock_shared" if is_shared else "pg_try_advisory_xact_lock"
            yield bool(transaction.exec_driver_sql(f"SELECT {function}(%s)", (int(key),)).scalar_one())


@contextlib.asynccontextmanager
async def aio_try_process_lock(
    database: Database, task: str, key: AdvisoryLock, *, is_shared: bool = False
) -> AsyncIterator[bool]:
    """Do as `try_process_lock` without blocking the event loop. Threads take and release the lock."""
    held = contextlib.ExitStack()
    lock = try_process_lock(database, task, key, is_shared=is_shared)
    acquiring = asyncio.ensure_future(asyncio.to_thread(held.enter_context, lock))
    try:
        # A cancelled caller still waits for the thread below. Without that wait the thread could keep the lock for
        # ever.
        yield await asyncio.shield(acquiring)
    finally:
        releasing = asyncio.ensure_future(_release(held, acquiring))
        try:
            await asyncio.shield(releasing)
        except asyncio.CancelledError:
            await asyncio.wait([releasing])
            raise


async def _release(held: contextlib.ExitStack, acquiring: asyncio.Future[bool]) -> None:
    """Release a lock once the thread that takes it has ended."""
    await asyncio.wait([acquiring])
    await asyncio.to_thread(held.close)


@contextlib.contextmanager
def try_sqlite_process_lock(url: str | URL, task: str, *, is_shared: bool = False) -> Iterator[bool]:
    """Do as `try_process_lock` for a SQLite file, which need not exist. For any other database yield True."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        yield True
        return
    path = Path(f"{parsed.database}-{task}").absolute()
    make_directory(path.parent)
    # The lock is on a file of its own. Closing the database's own file would release SQLite's locks on it.
    with _open(path) as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("ab")
    except OSError as error:
        raise UnusableDatabase(
            english(
                "no file can be written beside a SQLite database: {file}: {cause}; change the owner and the "
                "permissions of the folder, or HUTONG_DATA_DIR",
                file=path,
                cause=system_text(error),
            )
        ) from None
