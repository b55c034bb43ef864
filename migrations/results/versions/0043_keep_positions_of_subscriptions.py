"""Keep the newest notification number that a subscription at the node above used up, for each life of that node.

Revision: 0043, after 0042
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subscription_positions",
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.Column("stored_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("life", name=op.f("pk_subscription_positions")),
    )


def downgrade() -> None:
    op.drop_table("subscription_positions")
