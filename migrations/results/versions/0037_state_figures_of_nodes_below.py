"""Store conflicts, skew and set-aside changes of nodes at a greater depth, and the nodes between.

The next checkpoint of each node brings these values.

Revision: 0037, after 0036
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_COUNTS = ("conflict_count", "not_its_own_count", "second_registration_count")


def upgrade() -> None:
    with op.batch_alter_table("relayed_nodes") as relayed:
        relayed.add_column(sa.Column("clock_skew", sa.BigInteger(), nullable=True))
        for name in _COUNTS:
            relayed.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
        relayed.add_column(sa.Column("path", sa.String(length=40), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("relayed_nodes") as relayed:
        relayed.drop_column("path")
        for name in reversed(_COUNTS):
            relayed.drop_column(name)
        relayed.drop_column("clock_skew")
