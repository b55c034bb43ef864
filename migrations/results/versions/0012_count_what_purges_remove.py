"""Count what each purge removes from each store. For earlier purges there is no count.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "results_deletion_counts",
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("store", sa.String(length=64), nullable=False),
        sa.Column("removed_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("deletion_id", "store", name=op.f("pk_results_deletion_counts")),
    )


def downgrade() -> None:
    op.drop_table("results_deletion_counts")
