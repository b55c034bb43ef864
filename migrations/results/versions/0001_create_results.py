"""Create the tables of the Results service.

Revision: 0001, after None
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "change_writers",
        sa.Column("writer_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", name="pk_change_writers"),
    )
    op.create_table(
        "changes",
        sa.Column("writer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("reports", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", "sequence", name="pk_changes"),
    )
    op.create_table(
        "delays",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("delay_class", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("last_upload_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "report_hour", "delay_class", name="pk_delays"),
    )
    op.create_table(
        "deletions",
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("result_count", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("deletion_id", name="pk_deletions"),
    )
    op.create_table(
        "document_links",
        sa.Column("link_id", sa.String(length=36), nullable=False),
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("document_type", sa.SmallInteger(), nullable=False),
        sa.Column("masked_number", sa.String(length=32), nullable=False),
        sa.Column("linked_subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("linked_document_type", sa.SmallInteger(), nullable=False),
        sa.Column("linked_masked_number", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("remove_time", sa.BigInteger(), nullable=True),
        sa.Column("remove_reason", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("link_id", name="pk_document_links"),
    )
    with op.batch_alter_table("document_links", schema=None) as batch_op:
        batch_op.create_index("ix_document_links_linked_subject_key", ["linked_subject_key"], unique=False)
        batch_op.create_index("ix_document_links_subject_key", ["subject_key"], unique=False)

    op.create_table(
        "lab_standings",
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("standing", sa.SmallInteger(), nullable=False),
        sa.Column("effective_time", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("record_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uscc", "entry", name="pk_lab_standings"),
    )
    op.create_table(
        "labs",
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("contact", sa.String(length=200), nullable=False),
        sa.Column("authorize_time", sa.BigInteger(), nullable=True),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uscc", name="pk_labs"),
    )
    op.create_table(
        "report_keys",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("file_time", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.SmallInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sampling_hash", sa.LargeBinary(length=16), nullable=True),
        sa.PrimaryKeyConstraint("lab", "report_number", name="pk_report_keys"),
    )
    op.create_table(
        "results_request_memory",
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("method", "request_id", name="pk_results_request_memory"),
    )
    op.create_table(
        "results",
        sa.Column("subject_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("file_time", sa.BigInteger(), nullable=False),
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("name_hash", sa.LargeBinary(length=16), nullable=False),
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
        sa.Column("nationwide_time", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.String(length=6), nullable=False),
        postgresql_partition_by="RANGE (file_time)",
    )
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.create_index("ix_results_subject_key_file_time", ["subject_key", "file_time"], unique=False)

    op.create_table(
        "revision_reasons",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("report_number", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("record_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "report_number", "revision", name="pk_revision_reasons"),
    )
    op.create_table(
        "upload_rejections",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("tube_offset", sa.BigInteger(), nullable=False),
        sa.Column("person_index", sa.SmallInteger(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("violations", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "upload_id", "tube_offset", "person_index", name="pk_upload_rejections"),
    )
    op.create_table(
        "uploads",
        sa.Column("lab", sa.String(length=18), nullable=False),
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("committed_offset", sa.BigInteger(), nullable=False),
        sa.Column("accepted_count", sa.BigInteger(), nullable=False),
        sa.Column("duplicate_count", sa.BigInteger(), nullable=False),
        sa.Column("rejected_count", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab", "upload_id", name="pk_uploads"),
    )


def downgrade() -> None:
    op.drop_table("uploads")
    op.drop_table("upload_rejections")
    op.drop_table("revision_reasons")
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.drop_index("ix_results_subject_key_file_time")

    op.drop_table("results")
    op.drop_table("results_request_memory")
    op.drop_table("report_keys")
    op.drop_table("labs")
    op.drop_table("lab_standings")
    with op.batch_alter_table("document_links", schema=None) as batch_op:
        batch_op.drop_index("ix_document_links_subject_key")
        batch_op.drop_index("ix_document_links_linked_subject_key")

    op.drop_table("document_links")
    op.drop_table("deletions")
    op.drop_table("delays")
    op.drop_table("changes")
    op.drop_table("change_writers")
