"""Name the node of each revision, keep the nodes below, and the lives of all other nodes by node.

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
    # A node that watched before is founded. It has dropped what stood above for its own region, so all is sent again.
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
        "other_lives",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", "life", name=op.f("pk_other_lives")),
    )
    op.execute("INSERT INTO other_lives (region, life, sequence) SELECT region, life, sequence FROM upstream_lives")
    op.drop_table("upstream_lives")


def downgrade() -> None:
    op.create_table(
        "upstream_lives",
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False, server_default="000000"),
        sa.PrimaryKeyConstraint("life", name=op.f("pk_upstream_lives")),
    )
    op.execute(
        "INSERT INTO upstream_lives (life, sequence, region) "
        "SELECT life, max(sequence), min(region) FROM other_lives GROUP BY life"
    )
    op.drop_table("other_lives")
    op.drop_table("nodes_below")
    with op.batch_alter_table("upstream_positions") as positions:
        positions.drop_column("founded_time")
    with op.batch_alter_table("policies") as policies:
        policies.drop_column("node")
