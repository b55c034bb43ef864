"""The tables of a service's audit. Their names begin with the service's name, because services may share a database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from services.audit.keys import TAG_LENGTH

HEAD_LENGTH = 32
"""Bytes of a digest and of a head: SHA-256."""
WRAPPED_LENGTH = 40
"""Bytes of an encrypted key: the bytes of the key, and 8 bytes by which a wrong key is detected (RFC 3394)."""


@dataclass(frozen=True, slots=True)
class AuditTables:
    """The tables of one service.

    Attributes:
        service: the service's name.
        rows: one row for each change. Older rows of reads were stored before reads were packed.
        packs: one row for the reads and denials that were stored together (`services.audit.packs`).
        writers: each writer numbers and chains its own rows. At most one transaction at a time uses a writer.
        seals: the hash chain over the rows.
        keys: the keys of earlier versions of the pepper (`services.audit.kept_keys`).
    """

    service: str
    rows: Table
    packs: Table
    writers: Table
    seals: Table
    keys: Table


def audit_tables(metadata: MetaData, service: str) -> AuditTables:
    """Return the tables of a service's audit."""
    rows = Table(
        f"{service}_audit",
        metadata,
        Column("writer_id", Integer, primary_key=True, autoincrement=False),
        # Counts the writer's rows from 1, without a gap.
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("kind", SmallInteger, nullable=False),
        # Reads and denials have only the minute.
        Column("time", BigInteger, nullable=False),
        Column("request_id", String(64), nullable=False),
        Column("role", String(16), nullable=False),
        Column("caller", String(100), nullable=False),
        Column("on_behalf_of", String(100), nullable=False),
        Column("peer", String(100), nullable=False),
        Column("method", String(100), nullable=False),
        Column("purpose", SmallInteger, nullable=False),
        Column("region", String(6), nullable=False),
        Column("object", String(200), nullable=False),
        # The keyed hash of the person and the day. The column has no index, because an index would cost each Verify a
        # random write. `hutongd audit who-read` reads the whole table instead.
        Column("subject_tag", LargeBinary(TAG_LENGTH)),
        Column("code", SmallInteger, nullable=False),
        Column("outcome", String(32), nullable=False),
        Column("item_count", BigInteger, nullable=False),
        # The case that the call named; empty for none.
        Column("case_id", String(64), nullable=False, server_default=""),
        Index(f"ix_{service}_audit_time", "time", "writer_id", "sequence"),
        sqlite_with_rowid=False,
    )
    packs = Table(
        f"{service}_audit_reads",
        metadata,
        Column("writer_id", Integer, primary_key=True, autoincrement=False),
        # The sequence of the first event. The writer's other events follow without a gap.
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("event_count", Integer, nullable=False),
        # The minute of all events.
        Column("time", BigInteger, nullable=False),
        # Whether any event of the pack is a denial. A listing of denials skips all other packs.
        Column("has_denials", Boolean, nullable=False),
        # The tags of the persons, 16 bytes for each event, zeros for an event without a person.
        Column("tags", LargeBinary, nullable=False),
        # The other fields as JSON, by column.
        Column("events", Text, nullable=False),
        Index(f"ix_{service}_audit_reads_time", "time", "writer_id", "sequence"),
        sqlite_with_rowid=False,
    )
    writers = Table(
        f"{service}_audit_writers",
        metadata,
        Column("writer_id", Integer, primary_key=True, autoincrement=True),
        # The chain that seals the rows, a services.audit.model.Chain.
        Column("chain", SmallInteger, nullable=False),
        Column("newest_sequence", BigInteger, nullable=False),
        # SHA-256 over the digest before the newest row, and that row.
        Column("digest", LargeBinary(HEAD_LENGTH), nullable=False),
    )
    seals = Table(
        f"{service}_audit_seals",
        metadata,
        Column("chain", SmallInteger, primary_key=True, autoincrement=False),
        # Counts the chain's seals from 1.
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("time", BigInteger, nullable=False),
        Column("writer_id", Integer, nullable=False),
        Column("first_sequence", BigInteger, nullable=False),
        Column("last_sequence", BigInteger, nullable=False),
        # Whether a killed process left the rows without a seal.
        Column("late", Boolean, nullable=False),
        # The digests of the writer before the first row and after the last row.
        Column("previous_digest", LargeBinary(HEAD_LENGTH), nullable=False),
        Column("digest", LargeBinary(HEAD_LENGTH), nullable=False),
        # The head of the previous seal; empty in the first seal.
        Column("previous_head", LargeBinary(HEAD_LENGTH), nullable=False),
        # The keyed hash of this row. Because the row contains `previous_head`, the hash also covers all rows before it.
        Column("head", LargeBinary(HEAD_LENGTH), nullable=False),
        Index(f"ix_{service}_audit_seals_writer", "writer_id", "last_sequence"),
    )
    keys = Table(
        f"{service}_audit_keys",
        metadata,
        Column("key_version", SmallInteger, primary_key=True, autoincrement=False),
        # The version under which the key is encrypted.
        Column("wrapping_version", SmallInteger, nullable=False),
        Column("wrapped_key", LargeBinary(WRAPPED_LENGTH), nullable=False),
    )
    return AuditTables(service, rows, packs, writers, seals, keys)
