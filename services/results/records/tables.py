"""Tables of results. Identities stand here only as keyed hashes and masks.

`results` has one index and no constraint, because each index costs a third of the bulk load. That a report exists once
is the primary key of `report_keys`, a lean table that knows for every report who it is about and where its newest
revision is filed. (A unique constraint on `results` would have to hold the month it is partitioned by, and a later
report time would slip past it across a month's end.)
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.results.schema import metadata

results = Table(
    "results",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    # The report time, for PENDING the sampling time: by what results are ordered and PostgreSQL partitions them.
    Column("reference_time", BigInteger, nullable=False),
    Column("lab", String(18), nullable=False),
    Column("report_number", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("key_version", SmallInteger, nullable=False),
    Column("name_hash", LargeBinary(KEY_LENGTH), nullable=False),
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
    # The region of the node that received it from the laboratory.
    Column("source_node", String(6), nullable=False),
    Index("ix_results_subject_key_reference_time", "subject_key", "reference_time"),
    postgresql_partition_by="RANGE (reference_time)",
)

report_keys = Table(
    "report_keys",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    # Of the newest revision, as in results.
    Column("reference_time", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    # 0 once the report was recalled.
    Column("outcome", SmallInteger, nullable=False),
    # Over everything the laboratory stated of this person, to tell a duplicate from a conflict.
    Column("content_hash", LargeBinary(KEY_LENGTH), nullable=False),
    # Of the sampling record that this report followed, so that sending that one again is a duplicate too.
    Column("sampling_hash", LargeBinary(KEY_LENGTH)),
)

# Why a revision after the first was written; first revisions and results of sampling records need no reason.
revision_reasons = Table(
    "revision_reasons",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("reason", String(500), nullable=False),
    Column("record_time", BigInteger, nullable=False),
)

# Under which pepper the store was filled, by the version that its subject keys bear.
pepper_marks = Table(
    "pepper_marks",
    metadata,
    Column("key_version", SmallInteger, primary_key=True, autoincrement=False),
    Column("mark", LargeBinary(16), nullable=False),
)

# What retention has removed, for ever: what, how many, and a hash over what they were.
deletions = Table(
    "deletions",
    metadata,
    Column("deletion_id", String(36), primary_key=True),
    # Everything filed before this instant is gone.
    Column("horizon", BigInteger, nullable=False),
    # Revisions of results, and a SHA-256 over their names; 0 and empty until they were counted, before which nothing is
    # removed.
    Column("result_count", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("delete_time", BigInteger, nullable=False),
)
