"""Give each link the key version of its subject keys. All links so far have version 1.

Revision: 0022, after 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("document_links") as table:
        table.add_column(sa.Column("key_version", sa.SmallInteger(), server_default="1", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("document_links") as table:
        table.drop_column("key_version")
