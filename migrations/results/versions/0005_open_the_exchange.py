"""Create the tables of the exchange: nodes, positions, subscriptions, notifications and missing reports.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "follow_ups",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("raised_by", sa.String(length=6), nullable=False),
        sa.Column("passed_on", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "report_number", name=op.f("pk_follow_ups")),
    )
    op.create_index("ix_follow_ups_create_time", "follow_ups", ["create_time"], unique=False)
    op.create_table(
        "followed_subjects",
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.PrimaryKeyConstraint("subject_key", "node", name=op.f("pk_followed_subjects")),
    )
    op.create_table(
        "lab_homes",
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.PrimaryKeyConstraint("uscc", "node", name=op.f("pk_lab_homes")),
    )
    op.create_table(
        "log_identity",
        sa.Column("log_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("log_id", name=op.f("pk_log_identity")),
    )
    op.create_table(
        "nationwide_delays",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("delay_class", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "report_hour", "delay_class", name=op.f("pk_nationwide_delays")),
    )
    op.create_table(
        "nationwide_places",
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", name=op.f("pk_nationwide_places")),
    )
    op.create_table(
        "nationwide_times",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("upload_time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("nationwide_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "upload_time", name=op.f("pk_nationwide_times")),
    )
    op.create_table(
        "nodes",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("as_of_time", sa.BigInteger(), nullable=True),
        sa.Column("contact_time", sa.BigInteger(), nullable=False),
        sa.Column("backlog", sa.BigInteger(), nullable=False),
        sa.Column("clock_skew", sa.BigInteger(), nullable=False),
        sa.Column("conflict_count", sa.BigInteger(), nullable=False),
        sa.Column("newest_notice", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_nodes")),
    )
    op.create_table(
        "notice_places",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("dealt", sa.BigInteger(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_notice_places")),
    )
    op.create_table(
        "notices",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("reports", sa.LargeBinary(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "number", name=op.f("pk_notices")),
    )
    op.create_table(
        "replicated_places",
        sa.Column("node", sa.String(length=6), nullable=False),
        sa.Column("log_id", sa.String(length=36), nullable=False),
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("committed", sa.BigInteger(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("node", "log_id", "writer_id", name=op.f("pk_replicated_places")),
    )
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.SmallInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.drop_column("kind")
    op.drop_table("replicated_places")
    op.drop_table("notices")
    op.drop_table("notice_places")
    op.drop_table("nodes")
    op.drop_table("nationwide_times")
    op.drop_table("nationwide_places")
    op.drop_table("nationwide_delays")
    op.drop_table("log_identity")
    op.drop_table("lab_homes")
    op.drop_table("followed_subjects")
    op.drop_index("ix_follow_ups_create_time", "follow_ups")
    op.drop_table("follow_ups")
