"""Record what comes from other nodes: removals of links, closed missing reports, and standings of laboratories.

Revision: 0029, after 0028
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("document_links") as table:
        table.add_column(sa.Column("unlink_node", sa.String(length=6), nullable=True))
    with op.batch_alter_table("missing_reports") as table:
        table.add_column(sa.Column("close_time", sa.BigInteger(), nullable=True))
    op.create_table(
        "lab_copies",
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("authorize_time", sa.BigInteger(), nullable=True),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("is_elsewhere", sa.Boolean(), nullable=False),
        sa.Column("standings", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("uscc", name="pk_lab_copies"),
    )


def downgrade() -> None:
    op.drop_table("lab_copies")
    with op.batch_alter_table("missing_reports") as table:
        table.drop_column("close_time")
    with op.batch_alter_table("document_links") as table:
        table.drop_column("unlink_node")
