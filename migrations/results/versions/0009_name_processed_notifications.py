"""Rename the count of processed notifications. No row is touched.

Revision: 0009, after 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE notification_positions RENAME COLUMN dealt TO processed")


def downgrade() -> None:
    op.execute("ALTER TABLE notification_positions RENAME COLUMN processed TO dealt")
