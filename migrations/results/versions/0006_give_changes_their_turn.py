"""Add the turn (Lamport timestamp) to changes, which orders the entries of different writers whatever their clocks say.

Older entries keep turn 0 and are ordered by their times.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, column in (("change_writers", "newest_turn"), ("changes", "turn")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column(column, sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for table, column in (("changes", "turn"), ("change_writers", "newest_turn")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column(column)
