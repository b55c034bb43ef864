"""Transactions that wait for each other: the database breaks one off, and it is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from sqlalchemy import Connection, text

from services.runtime.audit import current_audit
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.waiting import TIMEOUT_SECONDS

UP = text("UPDATE labs_of_test SET count = count + 1 WHERE name = :name")


class _Audit:
    """The part of a call's audit that a transaction changes."""

    is_recorded = False


async def test_a_transaction_that_deadlocks_is_tried_again(postgres_url: MakeUrl) -> None:
    """Both transactions commit once, and the audit does not count the row that was rolled back."""
    with contextlib.closing(open_database(postgres_url("results"))) as database:
        await database.write(
            lambda connection: [
                connection.execute(text(statement))
                for statement in (
                    "CREATE TABLE labs_of_test (name text PRIMARY KEY, count integer)",
                    "INSERT INTO labs_of_test VALUES ('a', 0), ('b', 0)",
                )
            ]
        )
        meeting = threading.Barrier(2)
        attempts: list[tuple[str, bool]] = []

        def lock_both(connection: Connection, first: str, second: str) -> None:
            audit = current_audit.get()
            assert audit is not None
            attempts.append((first, audit.is_recorded))
            connection.execute(UP, {"name": first})
            audit.is_recorded = True
            if len(attempts) <= 2:
                meeting.wait(TIMEOUT_SECONDS)
            connection.execute(UP, {"name": second})

        async def write(first: str, second: str) -> None:
            current_audit.set(_Audit())  # type: ignore[arg-type]
            await database.write(lock_both, first, second)

        await asyncio.gather(write("a", "b"), write("b", "a"))
        counts = await database.read(lambda connection: connection.execute(text("SELECT * FROM labs_of_test")).all())
    assert sorted(map(tuple, counts)) == [("a", 2), ("b", 2)]
    assert len(attempts) > 2
    assert not any(is_recorded for _, is_recorded in attempts)
