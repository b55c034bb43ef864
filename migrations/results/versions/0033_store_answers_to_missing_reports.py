"""Store laboratories' answers to missing reports. There are no answers so far.

Revision: 0033, after 0032
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

COLUMNS = ("answer", "answer_time", "expected_time", "answer_actor")


def upgrade() -> None:
    with op.batch_alter_table("missing_reports") as reports:
        reports.add_column(sa.Column("answer", sa.SmallInteger(), nullable=True))
        reports.add_column(sa.Column("answer_time", sa.BigInteger(), nullable=True))
        reports.add_column(sa.Column("expected_time", sa.BigInteger(), nullable=True))
        reports.add_column(sa.Column("answer_actor", sa.String(length=100), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("missing_reports") as reports:
        for name in reversed(COLUMNS):
            reports.drop_column(name)
