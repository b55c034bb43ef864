"""Store when the answer to a missing report was stored here. For earlier answers this is not known.

Revision: 0038, after 0037
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("missing_reports") as reports:
        reports.add_column(sa.Column("answer_store_time", sa.BigInteger(), nullable=True))
        reports.create_index("ix_missing_reports_answer_store_time", ["answer_store_time"])


def downgrade() -> None:
    with op.batch_alter_table("missing_reports") as reports:
        reports.drop_index("ix_missing_reports_answer_store_time")
        reports.drop_column("answer_store_time")
