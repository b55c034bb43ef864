"""Store the links to other nodes, and the outbox of reported refusals.

Revision: 0015, after 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refusal_links",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("is_above", sa.Boolean(), nullable=False),
        sa.Column("acknowledged_number", sa.BigInteger(), nullable=False),
        sa.Column("received_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_refusal_links")),
    )
    op.create_table(
        "refusal_outbox",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("send_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "uuid", name=op.f("pk_refusal_outbox")),
    )


def downgrade() -> None:
    op.drop_table("refusal_outbox")
    op.drop_table("refusal_links")
