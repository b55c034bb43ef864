"""Add, for the time in which the key rotates, pairs of the two keys of each document that has links.

Revision: 0017, after 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_pairs",
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("other_key", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("subject_key", name=op.f("pk_key_pairs")),
    )


def downgrade() -> None:
    op.drop_table("key_pairs")
