"""The table of cases. It names neither a person nor a gate."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, SmallInteger, String, Table, Text, UniqueConstraint

from services.storage.columns import LEFT_OUT
from services.verification.schema import metadata

evidence_cases = Table(
    "evidence_cases",
    metadata,
    # UUIDs of version 7 sort in the order in which the cases were opened.
    Column("uuid", String(36), primary_key=True),
    Column("lab", String(18), nullable=False),
    Column("report_number", String(64), nullable=False),
    # A hutong.verification.v1.EvidenceCaseKind.
    Column("kind", SmallInteger, nullable=False),
    # The fields that differed, with a comma between them.
    Column("differing_fields", String(100), nullable=False),
    # The prefecture of the place.
    Column("region", String(6), nullable=False),
    # The decision that opened the case. The decision may have been removed since.
    Column("decision", String(36), nullable=False),
    # The decision with whose evidence the evidence of this case was compared; empty if there was no such comparison.
    Column("other_decision", String(36), nullable=False),
    Column("create_time", BigInteger, nullable=False),
    # The officer who examines the case; empty while the case is open.
    Column("assignee", String(100), nullable=False),
    Column("assign_time", BigInteger),
    Column("assign_actor", String(100)),
    # A hutong.verification.v1.EvidenceCaseFinding; 0 until the case is concluded.
    Column("finding", SmallInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("conclude_time", BigInteger),
    Column("conclude_actor", String(100)),
    UniqueConstraint("lab", "report_number", "kind"),
    info={LEFT_OUT: True},
)
