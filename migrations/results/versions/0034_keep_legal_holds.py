"""Store legal holds, and the results that they keep beyond purges.

Revision: 0034, after 0033
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("hold_id", sa.String(length=36), nullable=False),
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=True),
        sa.Column("other_key", sa.LargeBinary(length=16), nullable=True),
        sa.Column("masked_number", sa.String(length=32), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_start", sa.BigInteger(), nullable=True),
        sa.Column("report_end", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=True),
        sa.Column("case_id", sa.String(length=64), nullable=False),
        sa.Column("lift_time", sa.BigInteger(), nullable=True),
        sa.Column("lift_reason", sa.String(length=500), nullable=False),
        sa.Column("lift_actor", sa.String(length=100), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_legal_holds")),
    )
    op.create_table(
        "held_results",
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("reference_time", sa.BigInteger(), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("name_hash", sa.LargeBinary(length=17), nullable=False),
        sa.Column("masked_name", sa.String(length=128), nullable=False),
        sa.Column("masked_number", sa.String(length=32), nullable=False),
        sa.Column("tube_code", sa.String(length=64), nullable=False),
        sa.Column("pool_size", sa.SmallInteger(), nullable=False),
        sa.Column("specimen", sa.SmallInteger(), nullable=False),
        sa.Column("method", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.SmallInteger(), nullable=False),
        sa.Column("sample_region", sa.String(length=6), nullable=False),
        sa.Column("sample_site", sa.String(length=200), nullable=False),
        sa.Column("sample_time", sa.BigInteger(), nullable=False),
        sa.Column("receive_time", sa.BigInteger(), nullable=True),
        sa.Column("test_time", sa.BigInteger(), nullable=True),
        sa.Column("report_time", sa.BigInteger(), nullable=True),
        sa.Column("upload_time", sa.BigInteger(), nullable=False),
        sa.Column("national_receive_time", sa.BigInteger(), nullable=True),
        sa.Column("source_node", sa.String(length=6), nullable=False),
        sa.Column("item", sa.String(length=63), nullable=False),
        sa.Column("revision_reason", sa.String(length=500), nullable=False),
        sa.Column("hold_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "report_number", "revision", name=op.f("pk_held_results")),
    )


def downgrade() -> None:
    op.drop_table("held_results")
    op.drop_table("legal_holds")
