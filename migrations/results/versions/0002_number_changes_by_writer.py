"""Number each writer's changes in the writer's own row, and store there up to which number changes were removed.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("change_writers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("newest_sequence", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("removed_sequence", sa.BigInteger(), server_default="0", nullable=False))
    # A writer without any entries left starts again at 0, because nothing records the number of its last entry.
    op.execute(
        "UPDATE change_writers SET"
        " newest_sequence = coalesce((SELECT max(c.sequence) FROM changes c"
        " WHERE c.writer_id = change_writers.writer_id), 0),"
        " removed_sequence = coalesce((SELECT min(c.sequence) - 1 FROM changes c"
        " WHERE c.writer_id = change_writers.writer_id), 0)"
    )


def downgrade() -> None:
    with op.batch_alter_table("change_writers", schema=None) as batch_op:
        batch_op.drop_column("removed_sequence")
        batch_op.drop_column("newest_sequence")
