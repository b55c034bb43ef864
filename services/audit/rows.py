"""The form in which rows of the audit are hashed and stored, and their chain within a writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, select

from services.audit.tables import AuditTables
from services.runtime.audit import AuditEvent

COLUMNS = ("writer_id", "sequence", *AuditEvent._fields)
BEGINNING = bytes(32)
"""The digest before the first row of a writer."""
_STEP = 2_000
"""Rows that are read at once."""


def row_text(writer_id: int, sequence: int, event: AuditEvent) -> str:
    """Return a row as PostgreSQL's COPY takes it: the columns with tabs between them. This form is hashed too."""
    # No column needs escaping: `CallAudit` stores printable texts without backslashes.
    kind, time, request_id, role, caller, inner, peer, method, purpose, region, name, tag, code, outcome, count = event
    shown = "\\N" if tag is None else "\\\\x" + tag.hex()
    return (
        f"{writer_id}\t{sequence}\t{kind}\t{time}\t{request_id}\t{role}\t{caller}\t{inner}\t{peer}\t{method}"
        f"\t{purpose}\t{region}\t{name}\t{shown}\t{code}\t{outcome}\t{count}"
    )


def chain_rows(digest: bytes, texts: Sequence[str]) -> bytes:
    """Return the digest of a writer after rows, from the digest before them: SHA-256 of digest and row, for each."""
    for text in texts:
        digest = sha256(digest + text.encode()).digest()
    return digest


def read_rows(connection: Connection, tables: AuditTables, writer_id: int, first: int, last: int) -> Iterator[Any]:
    """Yield the rows of a writer from one sequence to another, both included, in order."""
    rows = tables.rows
    columns = [rows.c[name] for name in COLUMNS]
    after = first - 1
    while after < last:
        query = (
            select(*columns)
            .where(rows.c.writer_id == writer_id, rows.c.sequence > after, rows.c.sequence <= last)
            .order_by(rows.c.sequence)
            .limit(_STEP)
        )
        found = connection.execute(query).all()
        yield from found
        if len(found) < _STEP:
            return
        after = found[-1].sequence


def text_of(row: Any) -> str:
    """Return the text of a stored row."""
    writer_id, sequence, *event = row
    return row_text(writer_id, sequence, AuditEvent._make(event))
