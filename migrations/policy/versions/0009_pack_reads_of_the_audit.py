"""Create the table of packs. A pack is one row with all of the audit's reads and denials that are stored together.

Older rows of reads stay where they are.

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_audit_reads",
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("has_denials", sa.Boolean(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", "sequence", name=op.f("pk_policy_audit_reads")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_policy_audit_reads_time", "policy_audit_reads", ["time", "writer_id", "sequence"])
    if op.get_bind().dialect.name == "postgresql":
        # PostgreSQL would try to compress most packs while an answer waits. This would gain little, because hashes
        # hardly become smaller.
        for column in ("tags", "events"):
            op.execute(f"ALTER TABLE policy_audit_reads ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("policy_audit_reads")
