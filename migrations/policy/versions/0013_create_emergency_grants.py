"""Create the emergency grants, under which a caller approves its own changes, and store which grant each change used.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_emergency_grants",
        sa.Column("grant_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("holder", sa.String(length=100), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("reason", sa.String(length=256), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("ender", sa.String(length=100), nullable=False),
        sa.Column("approved_count", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(length=100), nullable=False),
        sa.Column("review_time", sa.BigInteger(), nullable=True),
        sa.Column("review_note", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_policy_emergency_grants")),
    )
    op.create_index(
        "ix_policy_emergency_grants_holder",
        "policy_emergency_grants",
        ["holder"],
        unique=True,
        sqlite_where=sa.text("review_time IS NULL"),
        postgresql_where=sa.text("review_time IS NULL"),
    )
    with op.batch_alter_table("policy_pending_changes") as table:
        table.add_column(sa.Column("grant_id", sa.String(length=36), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("policy_pending_changes") as table:
        table.drop_column("grant_id")
    op.drop_index("ix_policy_emergency_grants_holder", "policy_emergency_grants")
    op.drop_table("policy_emergency_grants")
