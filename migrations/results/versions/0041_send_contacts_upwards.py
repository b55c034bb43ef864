"""Remember to which node above the contacts of all laboratories were sent. None were sent so far.

Revision: 0041, after 0040
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("log_identity", sa.Column("contacts_sent_to", sa.String(length=6), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("log_identity") as batch:
        batch.drop_column("contacts_sent_to")
