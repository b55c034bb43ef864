"""Store how far the marking of stored adverse subjects has come.

A node that nodes below have joined has marked everything already. No row says that.

Revision: 0032, after 0031
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "marking_positions",
        sa.Column("marking", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("marking", name=op.f("pk_marking_positions")),
    )


def downgrade() -> None:
    op.drop_table("marking_positions")
