"""Remember which kinds of changes were not sent to a node of the previous release. Nothing was withheld so far.

Revision: 0036, after 0035
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "withheld_kinds",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("node", "kind", name=op.f("pk_withheld_kinds")),
    )


def downgrade() -> None:
    op.drop_table("withheld_kinds")
