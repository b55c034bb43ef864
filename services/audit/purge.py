"""Removes rows of the audit that have been kept long enough, with their seals, from the beginning of each chain.

Each step records itself as a change, so that a check does not report the purged rows as missing.
"""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import Connection, delete, select

from services.audit.check import PURGED, purged_object
from services.audit.keys import AuditKeys
from services.audit.model import KEPT, Chain, Seal
from services.audit.tables import AuditTables
from services.audit.trail import Trail
from services.domain.instant import Instant
from services.runtime.audit import AuditEvent, AuditKind
from services.runtime.clock import FixedClock
from services.storage.deletion_counts import DeletionCounts
from services.storage.engine import Database

SEALS = 1_000
"""The most seals that one transaction removes."""
ROWS = 5_000
"""After this many rows a transaction removes no further seal, because other writes on SQLite wait for the
transaction."""


def purge_audit(
    database: Database, tables: AuditTables, keys: AuditKeys, region: str, now: Instant, counts: DeletionCounts
) -> int:
    """Remove the rows that have been kept as long as their chain requires, with their seals.

    Return how many events were removed. A purge may be stopped at any time; the next purge removes the rest. The newest
    seal of a chain always stays.
    """
    trail = Trail(database, tables, keys, region, FixedClock(now))
    count = 0
    for chain in Chain:
        while removed := database.write_now(_remove_step, tables, keys, trail, counts, chain, now):
            count += removed
    return count


def _remove_step(
    connection: Connection,
    tables: AuditTables,
    keys: AuditKeys,
    trail: Trail,
    counts: DeletionCounts,
    chain: Chain,
    now: Instant,
) -> int:
    seals = tables.seals
    query = select(seals).where(seals.c.chain == int(chain)).order_by(seals.c.number).limit(SEALS + 1)
    found = [Seal._make(row) for row in connection.execute(query)]
    count = 0
    for seal, kept in pairwise(found):
        if seal.time >= now - KEPT[chain] or count >= ROWS or not _release_writer(connection, tables, seal):
            break
        for table in (tables.rows, tables.packs):
            of_seal = table.c.sequence.between(seal.first_sequence, seal.last_sequence)
            connection.execute(delete(table).where(table.c.writer_id == seal.writer_id, of_seal))
        connection.execute(delete(seals).where(seals.c.chain == int(chain), seals.c.number == seal.number))
        count += seal.last_sequence - seal.first_sequence + 1
        first_kept = kept
    if count:
        stated = (trail.region, purged_object(keys, first_kept), None, 0, "", count)
        event = AuditEvent(int(AuditKind.CHANGE), now, "", "", "", "", "", PURGED, 0, *stated)
        trail.insert(connection, [event])
    return counts.add(connection, tables.rows.name, count)


def _release_writer(connection: Connection, tables: AuditTables, seal: Seal) -> bool:
    """Remove the writer of a seal if the seal covers the writer's last row. Return False if the seal must stay.

    A later seal of the writer states where the writer goes on. If there is no later seal, the writer must have no rows
    without a seal.
    """
    seals, writers = tables.seals.c, tables.writers
    later = select(seals.number).where(seals.writer_id == seal.writer_id, seals.last_sequence > seal.last_sequence)
    if connection.execute(later.limit(1)).first() is not None:
        return True
    is_done = (writers.c.writer_id == seal.writer_id) & (writers.c.newest_sequence == seal.last_sequence)
    return connection.execute(delete(writers).where(is_done)).rowcount == 1
