"""Store in which life of the database each commit was made, here and at the nation. Older commits have no life.

The position of another node is known as soon as its next commit arrives.

Revision: 0019, after 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("life", sa.String(length=36), server_default="", nullable=False))
    op.create_table(
        "removed_lives",
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("newest_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("life", "writer_id", name=op.f("pk_removed_lives")),
    )
    op.create_table(
        "replicated_lives",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("newest_sequence", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "life", "writer_id", name=op.f("pk_replicated_lives")),
    )


def downgrade() -> None:
    op.drop_table("replicated_lives")
    op.drop_table("removed_lives")
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.drop_column("life")
