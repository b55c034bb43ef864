"""Store the node of each revision, and the nodes below with the lives of their databases.

Revision: 0016, after 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("policies") as policies:
        policies.add_column(sa.Column("node", sa.String(length=6)))
    with op.batch_alter_table("upstream_positions") as positions:
        positions.add_column(sa.Column("founded_time", sa.BigInteger()))
    # A node that watched already counts as founded. Until now it dropped policies of its own region that came from
    # above, so the node above has to send everything again.
    op.execute("UPDATE upstream_positions SET founded_time = as_of_time, cursor = ''")
    op.create_table(
        "nodes_below",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("stream", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.String(length=256), nullable=False),
        sa.Column("as_of_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_nodes_below")),
    )
    op.create_table(
        "lives_below",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", "life", name=op.f("pk_lives_below")),
    )


def downgrade() -> None:
    op.drop_table("lives_below")
    op.drop_table("nodes_below")
    with op.batch_alter_table("upstream_positions") as positions:
        positions.drop_column("founded_time")
    with op.batch_alter_table("policies") as policies:
        policies.drop_column("node")
