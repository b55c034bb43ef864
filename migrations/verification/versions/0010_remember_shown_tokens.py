"""Remember the holders' tokens that this node has accepted, each token until no node accepts it any longer.

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "used_holder_tokens",
        sa.Column("token_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("question_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_used_holder_tokens")),
    )
    op.create_index(op.f("ix_used_holder_tokens_end_time"), "used_holder_tokens", ["end_time"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_used_holder_tokens_end_time"), table_name="used_holder_tokens")
    op.drop_table("used_holder_tokens")
