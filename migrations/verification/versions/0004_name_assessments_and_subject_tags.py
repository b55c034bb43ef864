"""Rename columns to the words of the contract. No row is touched.

Revision: 0004, after 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE refusals RENAME COLUMN judgement TO assessment")
    op.execute("ALTER TABLE decisions RENAME COLUMN person_key TO subject_tag")


def downgrade() -> None:
    op.execute("ALTER TABLE decisions RENAME COLUMN subject_tag TO person_key")
    op.execute("ALTER TABLE refusals RENAME COLUMN assessment TO judgement")
