"""Number the changes of each writer in the writer's own row, and remember there what was removed.

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
    # A writer whose entries are all removed counts from where it stands, as if it had none: nothing of it is kept.
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
