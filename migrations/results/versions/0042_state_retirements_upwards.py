"""Keep when and why nodes at a greater depth were retired. So far only the node directly above them knew.

Revision: 0042, after 0041
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("relayed_nodes", sa.Column("retire_time", sa.BigInteger(), nullable=True))
    op.add_column("relayed_nodes", sa.Column("retire_reason", sa.String(length=500), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("relayed_nodes") as batch:
        batch.drop_column("retire_reason")
        batch.drop_column("retire_time")
