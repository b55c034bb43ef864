"""Store in which life of the database each change was made, and how far the nation's lives are known here.

Older changes have no life.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("policy_changes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("life", sa.String(length=36), server_default="", nullable=False))
    op.create_table(
        "upstream_lives",
        sa.Column("life", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("life", name=op.f("pk_upstream_lives")),
    )


def downgrade() -> None:
    op.drop_table("upstream_lives")
    with op.batch_alter_table("policy_changes", schema=None) as batch_op:
        batch_op.drop_column("life")
