"""The tables of reported refusals and of their idempotent requests."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from services.domain.subject import KEY_LENGTH
from services.verification.idempotency import requests
from services.verification.schema import metadata

__all__ = ["refusals", "requests"]

refusals = Table(
    "refusals",
    metadata,
    # UUIDs of version 7 sort in the order of the reports.
    Column("uuid", String(36), primary_key=True),
    Column("region", String(6), nullable=False),
    Column("venue", String(200), nullable=False),
    Column("purpose", SmallInteger, nullable=False),
    Column("refuse_time", BigInteger, nullable=False),
    # Sets of hutong.type.v1.RefusalGround: bit n means value n.
    Column("grounds", Integer, nullable=False),
    Column("forbidden_grounds", Integer, nullable=False),
    Column("decision", String(36), nullable=False),
    Column("assessment", SmallInteger, nullable=False),
    Column("statement", Text, nullable=False),
    # Keyed hash of the document; NULL if the report names no document.
    Column("subject_key", LargeBinary(KEY_LENGTH)),
    Column("key_version", SmallInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("answer", Text, nullable=False),
    # NULL while the report is open.
    Column("answer_time", BigInteger),
    # The name of the caller that answered; NULL before callers had names.
    Column("answer_actor", String(100)),
    Index(None, "refuse_time", "region"),
)
