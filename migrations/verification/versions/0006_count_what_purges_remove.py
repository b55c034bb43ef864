"""Count what each purge removes from each store. For earlier purges there is no count.

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
    op.create_table(
        "verification_deletion_counts",
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("store", sa.String(length=64), nullable=False),
        sa.Column("removed_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("deletion_id", "store", name=op.f("pk_verification_deletion_counts")),
    )


def downgrade() -> None:
    op.drop_table("verification_deletion_counts")
