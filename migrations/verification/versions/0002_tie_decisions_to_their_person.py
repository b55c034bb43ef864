"""Store with each decision a keyed hash that shows whether it was made for a given subject.

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
    # NULL in older rows, because their subject was never stored.
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("person_key", sa.LargeBinary(length=16), nullable=True))
        batch_op.add_column(sa.Column("key_version", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.drop_column("key_version")
        batch_op.drop_column("person_key")
