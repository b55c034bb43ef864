"""Commits on Citus. For readers they must be as atomic as commits on PostgreSQL.

A commit on several machines has two phases. The machines prepare, then the coordinator commits, and then it tells each
machine to commit. Until a machine is told, its rows cannot be seen, although the coordinator's rows can. If a machine
is lost in between, its rows can be seen only after Citus has ended the prepared transaction
(`citus.recover_2pc_interval`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from hutong_texts import english
from sqlalchemy import Connection

from services.domain.errors import Unavailable
from services.domain.instant import SECOND
from services.storage.advisory_locks import AdvisoryLock
from services.storage.connections import is_distributed

_PREPARED = """
SELECT nodename, nodeport, success, result FROM run_command_on_workers($$
  SELECT coalesce(json_agg(gid), '[]') FROM pg_prepared_xacts
  WHERE database = current_database() AND gid LIKE 'citus\\_0\\_%%'
$$)
"""
"""The names of the coordinator's prepared transactions on each worker: `citus_0_PROCESS_TRANSACTION_CONNECTION`."""
_RUNNING = "SELECT transaction_number FROM get_all_active_transactions() WHERE transaction_number <> 0"


def commit_together(connection: Connection, lock: AdvisoryLock, number: int, column: str) -> None:
    """Let all machines commit in two phases, and hold the lock of a number until all of them have committed.

    Do nothing without Citus.

    By default, a transaction that changes rows of only one machine beside the coordinator's has one phase. The machine
    commits first. If the coordinator is lost then, its rows are lost. No setting of Citus changes this. But every COPY
    into a distributed table asks for two phases, even a COPY without rows. `column` is any column of such a table,
    written `table.column`.
    """
    if not is_distributed(connection):
        return
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, %s)", (int(lock), number))
    table, _, name = column.partition(".")
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({name}) FROM STDIN"):
        pass


def await_commits(connection: Connection, lock: AdvisoryLock, numbers: Collection[int]) -> None:
    """Wait until every machine has committed the transactions that hold the locks of these numbers.

    Do nothing without Citus.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, a machine was lost before it had committed.
    """
    if not numbers or not is_distributed(connection):
        return
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock_shared(%s, number) FROM unnest(%s::int[]) AS numbers (number)",
        (int(lock), sorted(numbers)),
    )
    require_settled(connection)


def require_settled(connection: Connection) -> None:
    """Check that every machine has committed what the coordinator has committed. Do nothing without Citus.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, a machine has not committed everything, or does not answer.
    """
    if not is_distributed(connection):
        return
    prepared = _find_prepared(connection)
    if not prepared:
        return
    # A transaction that no longer runs but is still prepared has not been committed by its machine, because that
    # machine was lost.
    running = set(connection.exec_driver_sql(_RUNNING).scalars())
    ended = {name for name in prepared if int(name[2].split("_")[3]) not in running}
    if ended and ended & _find_prepared(connection):
        raise unsettled()


def _find_prepared(connection: Connection) -> set[tuple[str, int, str]]:
    found: set[tuple[str, int, str]] = set()
    for host, port, is_answered, result in connection.exec_driver_sql(_PREPARED):
        if not is_answered:
            raise unsettled()
        found |= {(host, port, name) for name in json.loads(result)}
    return found


def unsettled() -> Unavailable:
    """Return the error for a commit that a lost machine has not made yet."""
    return Unavailable(
        "DATABASE_UNAVAILABLE",
        english("a machine of the service's database was lost and has not committed everything yet; try again"),
        retry_after=2 * SECOND,
    )
