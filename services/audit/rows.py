"""The form in which rows of the audit are hashed and stored, and their chain within a writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from heapq import merge
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, select

from services.audit.packs import Pack, chain_pack
from services.audit.tables import AuditTables
from services.runtime.audit import AuditEvent

COLUMNS = ("writer_id", "sequence", *AuditEvent._fields)
BEGINNING = bytes(32)
"""The digest before the first row of a writer."""
_STEP = 500
"""Rows that are read at once."""


def row_text(writer_id: int, sequence: int, event: AuditEvent) -> str:
    """Return a row as PostgreSQL's COPY takes it, with tabs between the columns. This text is hashed too."""
    # No column needs escaping: `CallAudit` stores printable texts without backslashes.
    kind, time, request_id, role, caller, inner, peer, method, purpose, region, name, tag, code, outcome, *last = event
    count, case = last
    shown = "\\N" if tag is None else "\\\\x" + tag.hex()
    return (
        f"{writer_id}\t{sequence}\t{kind}\t{time}\t{request_id}\t{role}\t{caller}\t{inner}\t{peer}\t{method}"
        f"\t{purpose}\t{region}\t{name}\t{shown}\t{code}\t{outcome}\t{count}\t{case}"
    )


def chain_rows(digest: bytes, texts: Sequence[str]) -> bytes:
    """Return a writer's digest after rows. For each row it is SHA-256 over the digest before the row, and the row.

    The case is left out if it is empty. Rows that were stored before the audit recorded cases therefore keep their
    digests.
    """
    for text in texts:
        digest = sha256(digest + text.removesuffix("\t").encode()).digest()
    return digest


class Entry(NamedTuple):
    """One stored row of a writer: an event, or a pack of events.

    Attributes:
        first: the sequence of its first event.
        last: the sequence of its last event.
        chain: computes the writer's digest after the row from the digest before the row.
    """

    first: int
    last: int
    chain: Callable[[bytes], bytes]


def read_entries(connection: Connection, tables: AuditTables, writer_id: int, first: int, last: int) -> Iterator[Entry]:
    """Yield the rows and packs of a writer that begin in a span of sequences, both ends included, in order."""
    rows = (
        Entry(row.sequence, row.sequence, partial(_chain_row, row))
        for row in _read(connection, tables.rows, COLUMNS, writer_id, first, last)
    )
    packs = (
        Entry(pack.sequence, pack.last_sequence, partial(chain_pack, pack=pack))
        for pack in map(Pack._make, _read(connection, tables.packs, Pack._fields, writer_id, first, last))
    )
    return merge(rows, packs, key=attrgetter("first"))


def _read(
    connection: Connection, table: Table, names: Sequence[str], writer_id: int, first: int, last: int
) -> Iterator[Any]:
    after = first - 1
    while after < last:
        query = (
            select(*(table.c[name] for name in names))
            .where(table.c.writer_id == writer_id, table.c.sequence > after, table.c.sequence <= last)
            .order_by(table.c.sequence)
            .limit(_STEP)
        )
        found = connection.execute(query).all()
        yield from found
        if len(found) < _STEP:
            return
        after = found[-1].sequence


def _chain_row(row: Any, digest: bytes) -> bytes:
    writer_id, sequence, *event = row
    return chain_rows(digest, [row_text(writer_id, sequence, AuditEvent._make(event))])
