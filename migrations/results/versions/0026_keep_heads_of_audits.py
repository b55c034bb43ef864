"""Keep the heads of the nodes' audits, so that a later change of an audit is noticed.

Revision: 0026, after 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_heads_to_send",
        sa.Column("service", sa.String(length=16), nullable=False),
        sa.Column("chain", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("service", "chain", name=op.f("pk_audit_heads_to_send")),
    )
    op.create_table(
        "held_audit_heads",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("service", sa.String(length=16), nullable=False),
        sa.Column("chain", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("head", sa.LargeBinary(length=32), nullable=False),
        sa.Column("receive_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "service", "chain", "number", name=op.f("pk_held_audit_heads")),
    )


def downgrade() -> None:
    op.drop_table("held_audit_heads")
    op.drop_table("audit_heads_to_send")
