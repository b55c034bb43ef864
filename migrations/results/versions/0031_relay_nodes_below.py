"""Store the nodes below those that replicate to this one, and the homes of copied laboratories.

The homes of laboratories that were copied earlier are not known. The node above sends a laboratory again when the
laboratory changes.

Revision: 0031, after 0030
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "relayed_nodes",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("relaying_node", sa.String(length=6), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("as_of_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_relayed_nodes")),
    )
    with op.batch_alter_table("lab_copies") as copies:
        copies.add_column(sa.Column("home", sa.String(length=6), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("lab_copies") as copies:
        copies.drop_column("home")
    op.drop_table("relayed_nodes")
