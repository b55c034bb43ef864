"""The table of the counts of decisions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, String, Table

from services.verification.schema import metadata

decision_counts = Table(
    "decision_counts",
    metadata,
    # Hours since 1970-01-01T00:00:00Z.
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("region", String(6), primary_key=True),
    Column("purpose", SmallInteger, primary_key=True, autoincrement=False),
    # The region of the node that made the decisions.
    Column("node", String(6), primary_key=True),
    Column("recognized_count", BigInteger, nullable=False),
    Column("not_recognized_count", BigInteger, nullable=False),
    Column("not_required_count", BigInteger, nullable=False),
    Column("undetermined_count", BigInteger, nullable=False),
    # Larger after each change of the row; always 0 if the place lies outside this node's region.
    Column("version", BigInteger, nullable=False),
    # The version that the node above has; 0 for none.
    Column("sent_version", BigInteger, nullable=False),
)

_UNSENT = decision_counts.c.version > decision_counts.c.sent_version
Index(
    "ix_decision_counts_unsent",
    decision_counts.c.hour,
    decision_counts.c.region,
    decision_counts.c.purpose,
    decision_counts.c.node,
    postgresql_where=_UNSENT,
    sqlite_where=_UNSENT,
)
