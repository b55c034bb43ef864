"""Number the replication streams of each node, so that batches of an earlier stream are refused.

Revision: 0020, after 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replication_streams",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("stream", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_replication_streams")),
    )


def downgrade() -> None:
    op.drop_table("replication_streams")
