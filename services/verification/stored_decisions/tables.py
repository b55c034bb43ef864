"""The table of decisions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.storage.pepper_marks import pepper_marks_table
from services.verification.schema import metadata

decisions = Table(
    "decisions",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("evaluate_time", BigInteger, nullable=False, index=True),
    # Serialized hutong.verification.v1.Decision and DecisionInputs.
    Column("decision", LargeBinary, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    # Keyed hash of the decision's UUID and the document. It shows whether the decision is about a given subject, but
    # not whether two decisions are about the same subject. NULL in rows older than the column.
    Column("subject_tag", LargeBinary(KEY_LENGTH)),
    Column("key_version", SmallInteger),
)

# Identifies the pepper and the rule of document classes with which tags and subject keys were made.
pepper_marks = pepper_marks_table(metadata, "verification_pepper_marks")
