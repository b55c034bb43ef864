"""Store the approver of each recalled revision, and index the revisions of each laboratory by time.

Revision: 0021, after 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("revision_reasons") as table:
        table.add_column(sa.Column("approver", sa.String(length=100), nullable=True))
    op.create_index("ix_revision_reasons_lab_record_time", "revision_reasons", ["lab", "record_time"])


def downgrade() -> None:
    op.drop_index("ix_revision_reasons_lab_record_time", "revision_reasons")
    with op.batch_alter_table("revision_reasons") as table:
        table.drop_column("approver")
