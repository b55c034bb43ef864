"""Tables of results. They contain identities only as keyed hashes and masks.

`results` has one index and no constraint, because each index costs a third of the bulk load. The primary key of the
narrow table `report_keys` makes reports unique instead. A unique constraint on `results` would have to include the
reference time, because the table is partitioned by it. Such a constraint would not notice the same report with a report
time in another month.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH, NAME_HASH_LENGTH
from services.results.schema import metadata
from services.storage.pepper_marks import pepper_marks_table

results = Table(
    "results",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    # The report time; the sample time while PENDING. Results are ordered by this column, and PostgreSQL partitions by
    # it.
    Column("reference_time", BigInteger, nullable=False),
    Column("lab", String(18), nullable=False),
    Column("report_number", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("key_version", SmallInteger, nullable=False),
    # Empty if the result has no name. A hash of 16 bytes is older than the versions of the normal form and is not
    # compared.
    Column("name_hash", LargeBinary(NAME_HASH_LENGTH), nullable=False),
    Column("masked_name", String(128), nullable=False),
    Column("masked_number", String(32), nullable=False),
    Column("tube_code", String(64), nullable=False),
    Column("pool_size", SmallInteger, nullable=False),
    Column("specimen", SmallInteger, nullable=False),
    Column("method", SmallInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("sample_region", String(6), nullable=False),
    Column("sample_site", String(200), nullable=False),
    Column("sample_time", BigInteger, nullable=False),
    Column("receive_time", BigInteger),
    Column("test_time", BigInteger),
    Column("report_time", BigInteger),
    Column("upload_time", BigInteger, nullable=False),
    Column("national_receive_time", BigInteger),
    # The region of the node that received the result from its laboratory.
    Column("source_node", String(6), nullable=False),
    # The id of the test item; empty for the default item.
    Column("item", String(63), nullable=False, server_default=""),
    Index("ix_results_subject_key_reference_time", "subject_key", "reference_time"),
    postgresql_partition_by="RANGE (reference_time)",
)

report_keys = Table(
    "report_keys",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    # The reference time of the newest revision, as in `results`.
    Column("reference_time", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    # 0 once the report is recalled.
    Column("outcome", SmallInteger, nullable=False),
    # A hash over everything that the laboratory stated for this subject. It distinguishes a duplicate from a conflict.
    Column("content_hash", LargeBinary(KEY_LENGTH), nullable=False),
    # The content hash of this report's sampling record. By this hash, a sampling record that is sent again is
    # recognised as a duplicate.
    Column("sampling_hash", LargeBinary(KEY_LENGTH)),
)

# The reason for a revision. A first revision has no reason. A result that follows a sampling record has none either.
revision_reasons = Table(
    "revision_reasons",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("reason", String(500), nullable=False),
    Column("record_time", BigInteger, nullable=False),
    # The name of the caller that corrected or recalled the report. NULL if the row is older than this column.
    Column("actor", String(100)),
    # The name of the second caller that approved a large recall; NULL for all other changes.
    Column("approver", String(100)),
    Index("ix_revision_reasons_lab_record_time", "lab", "record_time"),
)

# A mark of the pepper and of the rule of document classes. The store's subject keys were made with both.
pepper_marks = pepper_marks_table(metadata, "pepper_marks")

# Deletion records: one for each purge, kept for ever.
deletions = Table(
    "deletions",
    metadata,
    Column("deletion_id", String(36), primary_key=True),
    # Everything with an earlier reference time is removed.
    Column("horizon", BigInteger, nullable=False),
    # The number of removed revisions, and a SHA-256 over their names. Before the revisions are counted, the number is
    # 0, the hash is empty, and nothing is removed yet.
    Column("result_count", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("delete_time", BigInteger, nullable=False),
    # The operator's login name as "local:{name}"; NULL if the row is older than this column.
    Column("actor", String(100)),
)
