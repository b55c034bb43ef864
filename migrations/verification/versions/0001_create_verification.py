"""Create the tables of the Verification service.

Revision: 0001, after None
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("evaluate_time", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.LargeBinary(), nullable=False),
        sa.Column("inputs", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_decisions"),
    )
    op.create_index("ix_decisions_evaluate_time", "decisions", ["evaluate_time"])
    op.create_table(
        "refusals",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("venue", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.SmallInteger(), nullable=False),
        sa.Column("refuse_time", sa.BigInteger(), nullable=False),
        sa.Column("grounds", sa.Integer(), nullable=False),
        sa.Column("forbidden_grounds", sa.Integer(), nullable=False),
        sa.Column("decision", sa.String(length=36), nullable=False),
        sa.Column("judgement", sa.SmallInteger(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=True),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("answer_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name="pk_refusals"),
    )
    op.create_index("ix_refusals_refuse_time_region", "refusals", ["refuse_time", "region"])
    op.create_table(
        "verification_request_memory",
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("method", "request_id", name="pk_verification_request_memory"),
    )


def downgrade() -> None:
    op.drop_table("verification_request_memory")
    op.drop_index("ix_refusals_refuse_time_region", table_name="refusals")
    op.drop_table("refusals")
    op.drop_index("ix_decisions_evaluate_time", table_name="decisions")
    op.drop_table("decisions")
