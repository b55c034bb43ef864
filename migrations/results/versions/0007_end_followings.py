"""Add the begin of each subscription, so that subscriptions can end.

Older subscriptions get time 0, so they end as soon as no result of the subject is kept.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("followed_subjects", schema=None) as batch_op:
        batch_op.add_column(sa.Column("follow_time", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("followed_subjects", schema=None) as batch_op:
        batch_op.drop_column("follow_time")
