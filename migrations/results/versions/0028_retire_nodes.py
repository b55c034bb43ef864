"""Record which nodes an operator has retired, and when and why.

Revision: 0028, after 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("nodes") as table:
        table.add_column(sa.Column("retire_time", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("retire_reason", sa.String(length=500), nullable=False, server_default=""))
        table.add_column(sa.Column("retire_actor", sa.String(length=100), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("nodes") as table:
        table.drop_column("retire_actor")
        table.drop_column("retire_reason")
        table.drop_column("retire_time")
