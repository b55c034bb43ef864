"""Hold requests to end links that are not stored here. After a restore, requests may come before their links.

Revision: 0039, after 0038
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "link_end_requests",
        sa.Column("link_id", sa.String(length=36), nullable=False),
        sa.Column("source_node", sa.String(length=6), nullable=False),
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("receive_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("link_id", "node", name=op.f("pk_link_end_requests")),
    )


def downgrade() -> None:
    op.drop_table("link_end_requests")
