"""Count decisions by hour, place, purpose and node. Earlier decisions are not counted.

Revision: 0017, after 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_UNSENT = sa.text("version > sent_version")


def upgrade() -> None:
    op.create_table(
        "decision_counts",
        sa.Column("hour", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("purpose", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("recognized_count", sa.BigInteger(), nullable=False),
        sa.Column("not_recognized_count", sa.BigInteger(), nullable=False),
        sa.Column("not_required_count", sa.BigInteger(), nullable=False),
        sa.Column("undetermined_count", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sent_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "region", "purpose", "node", name=op.f("pk_decision_counts")),
    )
    op.create_index(
        "ix_decision_counts_unsent",
        "decision_counts",
        ["hour", "region", "purpose", "node"],
        postgresql_where=_UNSENT,
        sqlite_where=_UNSENT,
    )
    # The hour from which on counts are to be sent again; NULL if none are.
    op.add_column("refusal_links", sa.Column("resend_hour", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("refusal_links", "resend_hour")
    op.drop_table("decision_counts")
