"""Create the tables of the Policy service.

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
        "policies",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("policy_id", sa.String(length=63), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("floor", sa.Boolean(), nullable=False),
        sa.Column("effective_start_time", sa.BigInteger(), nullable=False),
        sa.Column("effective_end_time", sa.BigInteger(), nullable=True),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("retroactive_reason", sa.String(length=500), nullable=False),
        sa.Column("publish_time", sa.BigInteger(), nullable=False),
        sa.Column("withdraw_time", sa.BigInteger(), nullable=True),
        sa.Column("withdraw_reason", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("region", "policy_id", "revision", name="pk_policies"),
    )
    op.create_table(
        "policy_changes",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("policy_id", sa.String(length=63), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_policy_changes"),
    )
    with op.batch_alter_table("policy_changes", schema=None) as batch_op:
        batch_op.create_index(
            "ix_policy_changes_region_policy_id_revision", ["region", "policy_id", "revision"], unique=False
        )

    op.create_table(
        "policy_request_memory",
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("method", "request_id", name="pk_policy_request_memory"),
    )


def downgrade() -> None:
    op.drop_table("policy_request_memory")
    with op.batch_alter_table("policy_changes", schema=None) as batch_op:
        batch_op.drop_index("ix_policy_changes_region_policy_id_revision")

    op.drop_table("policy_changes")
    op.drop_table("policies")
