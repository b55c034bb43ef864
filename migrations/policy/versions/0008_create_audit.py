"""Create the audit: rows, the writers that number them, and the seals of their chains.

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_audit",
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("caller", sa.String(length=100), nullable=False),
        sa.Column("on_behalf_of", sa.String(length=100), nullable=False),
        sa.Column("peer", sa.String(length=100), nullable=False),
        sa.Column("method", sa.String(length=100), nullable=False),
        sa.Column("purpose", sa.SmallInteger(), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("subject_tag", sa.LargeBinary(length=16), nullable=True),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("item_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", "sequence", name=op.f("pk_policy_audit")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_policy_audit_time", "policy_audit", ["time", "writer_id", "sequence"])
    op.create_table(
        "policy_audit_writers",
        sa.Column("writer_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("chain", sa.SmallInteger(), nullable=False),
        sa.Column("newest_sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", name=op.f("pk_policy_audit_writers")),
    )
    op.create_table(
        "policy_audit_seals",
        sa.Column("chain", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("writer_id", sa.Integer(), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("previous_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("previous_head", sa.LargeBinary(length=32), nullable=False),
        sa.Column("head", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chain", "number", name=op.f("pk_policy_audit_seals")),
    )
    op.create_index("ix_policy_audit_seals_writer", "policy_audit_seals", ["writer_id", "last_sequence"])


def downgrade() -> None:
    op.drop_table("policy_audit_seals")
    op.drop_table("policy_audit_writers")
    op.drop_table("policy_audit")
