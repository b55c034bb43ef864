"""Every advisory lock that the services take on PostgreSQL.

SQLite needs none, because it has one writer and one serving process.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from enum import IntEnum

from sqlalchemy import Connection


class AdvisoryLock(IntEnum):
    """Keys of advisory locks. The keys must not change, because two releases may run beside each other.

    Attributes:
        ASSESSMENTS: held by the one process of a node that assesses reported refusals of other nodes.
        PARTITIONS: held while partitions are created.
        POLICY_CHANGE: held by a publication until its commit.
        POLICY_SENDER: held by the one process of a node that sends the node's policies upstream.
        REFUSAL_LINK: held by the one process of a node that exchanges reported refusals with the node above.
        REFUSAL_LINKS: shared by commits that change reported refusals. A new link waits until they have ended.
        SENDER: held by the one process of a node that sends the node's changes upstream.
        PURGE: held by a purge from its start to its end.
        SUBSCRIPTION: shared by commits that look up subscribers. A node that subscribes waits until they have ended.
        LINKING: held while documents are linked or unlinked.
        LINK_ENDS: shared by commits that store links of other nodes. A request to end a link that is not stored waits
            until they have ended, and holds the lock until its own commit.
        DELAY_TOTALS: held by a commit that adds counts of delays to their totals, or subtracts them.
        HOMES: shared by commits that register laboratories. A node that joins the nation waits until they have ended.
        REPORTS: held on Citus for one laboratory, while the laboratory's reports are claimed, revised or removed.
        LOG_WRITER: held on Citus for one writer of the change log until all machines have committed the entry.
        SAME_REFUSALS: held for a hash of subject, region, purpose and day, while reported refusals with this hash are
            stored.
        SHOWN_REPORTS: held by a transaction of decisions with evidence, while it stores which reports were shown.
    """

    ASSESSMENTS = 0x48754173
    PARTITIONS = 0x48755061
    POLICY_CHANGE = 0x48755062
    POLICY_SENDER = 0x48755073
    SENDER = 0x48755065
    REFUSAL_LINK = 0x48755265
    REFUSAL_LINKS = 0x48755266
    PURGE = 0x48755070
    SUBSCRIPTION = 0x48755466
    LINKING = 0x48754C69
    LINK_ENDS = 0x48754C45
    DELAY_TOTALS = 0x48754454
    HOMES = 0x48754865
    REPORTS = 0x48755270
    LOG_WRITER = 0x4875574C
    SAME_REFUSALS = 0x48755366
    SHOWN_REPORTS = 0x48755368


def migration_lock(service: str) -> int:
    """Return the key of the lock that is held while a service is migrated."""
    return zlib.crc32(f"hutong {service}".encode())


def audit_lock(service: str) -> int:
    """Return the key of the lock of the transaction that seals a service's audit."""
    return zlib.crc32(f"hutong audit {service}".encode())


def try_audit_lock(connection: Connection, service: str) -> bool:
    """Try to be the only transaction that seals a service's audit. Return True on SQLite, which has only one writer."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (audit_lock(service),)).scalar_one())


def lock_until_commit(connection: Connection, lock: AdvisoryLock) -> None:
    """Wait for the lock and hold it until the transaction ends. Do nothing on SQLite, which has only one writer."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (int(lock),))


def share_until_commit(connection: Connection, lock: AdvisoryLock) -> None:
    """Wait until the lock can be shared, and share it until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared(%s)", (int(lock),))


def lock_names_until_commit(connection: Connection, lock: AdvisoryLock, names: Iterable[str]) -> None:
    """Wait for the lock of each name and hold it until the transaction ends.

    All transactions take these locks in the same order, so that they never deadlock.
    """
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(%s, hashtext(name)) FROM unnest(%s::text[]) AS named (name)",
        (int(lock), sorted(set(names))),
    )
