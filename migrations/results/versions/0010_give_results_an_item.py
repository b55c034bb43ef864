"""Add the test item of each result. Results that were stored earlier have the default item, which is the empty string.

Neither engine rewrites the table, because the default is a constant. The default stays, so that the column is filled
for a result whose writer does not name it.

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.add_column(sa.Column("item", sa.String(length=63), server_default="", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.drop_column("item")
