"""State of each reported refusal where it was reported and assessed, who answers it and by when, and its receipt.

When the service starts, it fills in its own node for earlier reported refusals. These have no receipt, and none of them
is recognised as a repetition of another.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ADDED = (
    "venue_kind",
    "arriving_from",
    "answer_node",
    "origin_node",
    "other_subject_key",
    "code",
    "evidence",
    "shown_decision",
    "request_hash",
    "same_report_key",
    "duplicate_of",
    "assess_node",
    "assess_time",
    "responsible_node",
    "due_time",
    "escalation_count",
)
_INDEXES = (
    (["code"], True),
    (["same_report_key"], True),
    (["request_hash"], False),
    (["duplicate_of"], False),
    (["responsible_node", "assess_time"], False),
    (["answer_time", "due_time"], False),
)


def _index(columns: list[str]) -> str:
    return op.f(f"ix_refusals_{'_'.join(columns)}")


def upgrade() -> None:
    with op.batch_alter_table("refusals") as refusals:
        for name in ("venue_kind", "escalation_count"):
            refusals.add_column(sa.Column(name, sa.SmallInteger(), nullable=False, server_default="0"))
        for name in ("arriving_from", "answer_node", "origin_node", "assess_node", "responsible_node"):
            refusals.add_column(sa.Column(name, sa.String(length=6), nullable=False, server_default=""))
        refusals.add_column(sa.Column("duplicate_of", sa.String(length=36), nullable=False, server_default=""))
        for name in ("other_subject_key", "request_hash", "same_report_key"):
            refusals.add_column(sa.Column(name, sa.LargeBinary(length=16), nullable=True))
        refusals.add_column(sa.Column("code", sa.String(length=16), nullable=True))
        for name in ("evidence", "shown_decision"):
            refusals.add_column(sa.Column(name, sa.LargeBinary(), nullable=False, server_default=""))
        refusals.add_column(sa.Column("assess_time", sa.BigInteger(), nullable=True))
        refusals.add_column(sa.Column("due_time", sa.BigInteger(), nullable=False, server_default="0"))
        for columns, unique in _INDEXES:
            refusals.create_index(_index(columns), columns, unique=unique)
    # An answer is due five days after the refusal was reported. The number is in microseconds.
    op.execute("UPDATE refusals SET assess_time = create_time, due_time = create_time + 432000000000")


def downgrade() -> None:
    with op.batch_alter_table("refusals") as refusals:
        for columns, _unique in _INDEXES:
            refusals.drop_index(_index(columns))
        for name in _ADDED:
            refusals.drop_column(name)
