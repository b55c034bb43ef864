"""Register public keys with which laboratories sign reports. No laboratory has any so far.

Revision: 0030, after 0029
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lab_signing_keys",
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("source_node", sa.String(length=6), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=200), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("revoke_time", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=100), nullable=True),
        sa.PrimaryKeyConstraint("uscc", "key_hash", "source_node", name=op.f("pk_lab_signing_keys")),
    )


def downgrade() -> None:
    op.drop_table("lab_signing_keys")
