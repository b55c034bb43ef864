"""Remember for whom a report was first shown as evidence, and flag showings that do not fit.

Reports that were shown earlier are not known.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shown_reports",
        sa.Column("report_tag", sa.LargeBinary(length=16), nullable=False),
        sa.Column("subject_tag", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sample_time_tag", sa.LargeBinary(length=16), nullable=True),
        sa.Column("report_time_tag", sa.LargeBinary(length=16), nullable=True),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("decision", sa.String(length=36), nullable=False),
        sa.Column("show_day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("report_tag", name=op.f("pk_shown_reports")),
    )
    op.create_index(op.f("ix_shown_reports_show_day"), "shown_reports", ["show_day"], unique=False)
    op.create_table(
        "evidence_flags",
        sa.Column("decision", sa.String(length=36), nullable=False),
        sa.Column("report_tag", sa.LargeBinary(length=16), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("kinds", sa.SmallInteger(), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("show_day", sa.Integer(), nullable=False),
        sa.Column("other_decision", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("decision", "report_tag", name=op.f("pk_evidence_flags")),
    )
    op.create_index("ix_evidence_flags_lab", "evidence_flags", ["lab"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_evidence_flags_lab", table_name="evidence_flags")
    op.drop_table("evidence_flags")
    op.drop_index(op.f("ix_shown_reports_show_day"), table_name="shown_reports")
    op.drop_table("shown_reports")
