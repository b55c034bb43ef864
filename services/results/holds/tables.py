"""Tables of legal holds, and of the results that purges have taken out of use and that holds keep."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, String, Table

from services.domain.subject import KEY_LENGTH
from services.results.records.tables import results
from services.results.schema import metadata

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("hold_id", String(36), primary_key=True),
    # The keys of the document; NULL without a document. The other key is the key under the other version. It is stored
    # only if the pepper was rotating.
    Column("subject_key", LargeBinary(KEY_LENGTH)),
    Column("other_key", LargeBinary(KEY_LENGTH)),
    Column("masked_number", String(32), nullable=False),
    Column("lab", String(18), nullable=False),
    Column("report_start", BigInteger),
    Column("report_end", BigInteger),
    Column("reason", String(500), nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("actor", String(100)),
    Column("case_id", String(64), nullable=False),
    # NULL while the hold is active.
    Column("lift_time", BigInteger),
    Column("lift_reason", String(500), nullable=False),
    Column("lift_actor", String(100)),
)

# The columns of `results`, and the reason for the revision. The reason is copied here, because a purge deletes it from
# `revision_reasons` together with the key of the report.
held_results = Table(
    "held_results",
    metadata,
    *(Column(column.name, column.type, nullable=column.nullable) for column in results.columns),
    Column("revision_reason", String(500), nullable=False),
    Column("hold_time", BigInteger, nullable=False),
    PrimaryKeyConstraint("lab", "report_number", "revision"),
)
