"""Create the table of audit keys that belong to earlier versions of the pepper.

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
        "policy_audit_keys",
        sa.Column("key_version", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("wrapping_version", sa.SmallInteger(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(length=40), nullable=False),
        sa.PrimaryKeyConstraint("key_version", name=op.f("pk_policy_audit_keys")),
    )


def downgrade() -> None:
    op.drop_table("policy_audit_keys")
