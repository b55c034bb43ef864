"""Store the position up to which the nation's policies were received.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_places",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("cursor", sa.String(length=256), nullable=False),
        sa.Column("as_of_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_upstream_places")),
    )


def downgrade() -> None:
    op.drop_table("upstream_places")
