"""The table of decisions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.verification.schema import metadata

decisions = Table(
    "decisions",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("evaluate_time", BigInteger, nullable=False, index=True),
    # Serialized hutong.verification.v1.Decision and DecisionInputs.
    Column("decision", LargeBinary, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    # Keyed hash of the decision's own UUID and the document: it tells whether the decision is that of a person at hand,
    # not that two decisions are of one person. NULL in rows that are older than the column.
    Column("person_key", LargeBinary(KEY_LENGTH)),
    Column("key_version", SmallInteger),
)
