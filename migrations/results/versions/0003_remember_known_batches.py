"""Store which batches are stored completely, so that a batch sent again is recognised by a hash.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "known_batches",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("rejected_tubes", sa.Text(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "digest", name=op.f("pk_known_batches")),
    )


def downgrade() -> None:
    op.drop_table("known_batches")
