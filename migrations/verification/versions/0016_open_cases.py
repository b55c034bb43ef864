"""Store cases of evidence that officers examine. No case is opened for evidence that was shown earlier.

Revision: 0016, after 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence_cases",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("differing_fields", sa.String(length=100), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("decision", sa.String(length=36), nullable=False),
        sa.Column("other_decision", sa.String(length=36), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("assignee", sa.String(length=100), nullable=False),
        sa.Column("assign_time", sa.BigInteger(), nullable=True),
        sa.Column("assign_actor", sa.String(length=100), nullable=True),
        sa.Column("finding", sa.SmallInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("conclude_time", sa.BigInteger(), nullable=True),
        sa.Column("conclude_actor", sa.String(length=100), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_evidence_cases")),
        sa.UniqueConstraint("lab", "report_number", "kind", name=op.f("uq_evidence_cases_lab_report_number_kind")),
    )


def downgrade() -> None:
    op.drop_table("evidence_cases")
