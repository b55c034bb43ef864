"""Record at which node a link was removed, and when a missing report was closed at another node.

Revision: 0026, after 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("document_links") as table:
        table.add_column(sa.Column("unlink_node", sa.String(length=6), nullable=True))
    with op.batch_alter_table("missing_reports") as table:
        table.add_column(sa.Column("close_time", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("missing_reports") as table:
        table.drop_column("close_time")
    with op.batch_alter_table("document_links") as table:
        table.drop_column("unlink_node")
