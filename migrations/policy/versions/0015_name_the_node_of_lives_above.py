"""Store for each life of a database above which node it belongs to. All lives so far are the nation's.

Revision: 0015, after 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("upstream_lives") as lives:
        lives.add_column(sa.Column("region", sa.String(length=6), nullable=False, server_default="000000"))


def downgrade() -> None:
    with op.batch_alter_table("upstream_lives") as lives:
        lives.drop_column("region")
