"""Store how far the marking of adverse subjects has come, and the positions and last contacts of nodes below.

A node that nodes below have joined already has marked everything, and gets no row. Older entries have no positions. For
these entries the node above gets the positions with a checkpoint.

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
    with op.batch_alter_table("changes") as changes:
        changes.add_column(sa.Column("positions_below", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("relayed_nodes") as relayed:
        relayed.add_column(sa.Column("contact_time", sa.BigInteger(), nullable=True))
        relayed.add_column(sa.Column("backlog", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("relayed_nodes") as relayed:
        relayed.drop_column("backlog")
        relayed.drop_column("contact_time")
    with op.batch_alter_table("changes") as changes:
        changes.drop_column("positions_below")
    op.drop_table("marking_positions")
