"""Create the pending changes, which wait for a second approver.

Revision: 0018, after 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "results_pending_changes",
        sa.Column("change_id", sa.String(length=36), nullable=False),
        sa.Column("method", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("change", sa.LargeBinary(), nullable=False),
        sa.Column("item_count", sa.BigInteger(), nullable=False),
        sa.Column("proposer", sa.String(length=100), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("decider", sa.String(length=100), nullable=False),
        sa.Column("decide_time", sa.BigInteger(), nullable=True),
        sa.Column("reject_reason", sa.String(length=256), nullable=False),
        sa.Column("complete_time", sa.BigInteger(), nullable=True),
        sa.Column("changed_count", sa.BigInteger(), nullable=False),
        sa.Column("consistency_token", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_results_pending_changes")),
    )


def downgrade() -> None:
    op.drop_table("results_pending_changes")
