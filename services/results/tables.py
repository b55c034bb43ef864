"""The tables of the Results service. Identities stand here only as keyed hashes and masks.

Times are BIGINT microseconds since 1970-01-01T00:00:00Z. `results` has one index and no constraint, because each index
costs a third of the bulk load: that a report exists once is the primary key of `report_keys`, a lean table that knows
for every report who it is about and where its newest revision is filed. (A unique constraint on `results` would have to
hold the month it is partitioned by, and a later report time would slip past it across a month's end.)
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from services.domain.subject import KEY_LENGTH
from services.storage.idempotency import request_memory
from services.storage.metadata import new_metadata

metadata = new_metadata()

labs = Table(
    "labs",
    metadata,
    Column("uscc", String(18), primary_key=True),
    Column("display_name", String(200), nullable=False),
    Column("region", String(6), nullable=False),
    Column("contact", String(200), nullable=False),
    Column("authorize_time", BigInteger),
    Column("create_time", BigInteger, nullable=False),
)

lab_standings = Table(
    "lab_standings",
    metadata,
    Column("uscc", String(18), primary_key=True),
    # Counts a laboratory's entries from 1, in the order they were recorded.
    Column("entry", Integer, primary_key=True),
    Column("standing", SmallInteger, nullable=False),
    # NULL: since ever.
    Column("effective_time", BigInteger),
    Column("reason", String(500), nullable=False),
    Column("record_time", BigInteger, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    # The report time, for PENDING the sampling time: by what results are ordered and PostgreSQL partitions them.
    Column("file_time", BigInteger, nullable=False),
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
    Column("nationwide_time", BigInteger),
    # The region of the node that received it from the laboratory.
    Column("origin", String(6), nullable=False),
    Index("ix_results_subject_key_file_time", "subject_key", "file_time"),
    postgresql_partition_by="RANGE (file_time)",
)

report_keys = Table(
    "report_keys",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    # Of the newest revision, as in results.
    Column("file_time", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    # 0 once the report was recalled.
    Column("outcome", SmallInteger, nullable=False),
    # Over everything the laboratory stated of this person, to tell a duplicate from a conflict.
    Column("content_hash", LargeBinary(KEY_LENGTH), nullable=False),
    # Of the sampling record that this report followed, so that sending that one again is a duplicate too.
    Column("sampling_hash", LargeBinary(KEY_LENGTH)),
)

uploads = Table(
    "uploads",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("upload_id", String(64), primary_key=True),
    Column("committed_offset", BigInteger, nullable=False),
    Column("accepted_count", BigInteger, nullable=False),
    Column("duplicate_count", BigInteger, nullable=False),
    Column("rejected_count", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
)

# Under which pepper the store was filled, by the version that its subject keys bear.
pepper_marks = Table(
    "pepper_marks",
    metadata,
    Column("key_version", SmallInteger, primary_key=True, autoincrement=False),
    Column("mark", LargeBinary(16), nullable=False),
)

# Batches that are stored, by a keyed hash of their tubes, but for the persons of some tubes.
known_batches = Table(
    "known_batches",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),
    # Indexes in the batch with spaces between them.
    Column("rejected_tubes", Text, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
)

# What was rejected, so that a replayed batch is told the same again. Holds paths and reasons, never a value.
upload_rejections = Table(
    "upload_rejections",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("upload_id", String(64), primary_key=True),
    # The tube's index in the upload.
    Column("tube_offset", BigInteger, primary_key=True),
    # -1 for the whole tube.
    Column("person_index", SmallInteger, primary_key=True),
    Column("retryable", Boolean, nullable=False),
    # JSON: [[field, reason, description], …]
    Column("violations", Text, nullable=False),
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

document_links = Table(
    "document_links",
    metadata,
    Column("link_id", String(36), primary_key=True),
    Column("subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    Column("document_type", SmallInteger, nullable=False),
    Column("masked_number", String(32), nullable=False),
    Column("linked_subject_key", LargeBinary(KEY_LENGTH), nullable=False),
    Column("linked_document_type", SmallInteger, nullable=False),
    Column("linked_masked_number", String(32), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("create_time", BigInteger, nullable=False),
    # NULL while the link holds.
    Column("remove_time", BigInteger),
    Column("remove_reason", String(500), nullable=False),
    Index("ix_document_links_subject_key", "subject_key"),
    Index("ix_document_links_linked_subject_key", "linked_subject_key"),
)

# Who writes changes. A transaction holds a writer's row from its entry to its commit, so that a writer's changes are
# committed in the order of their sequence, whatever other writers do meanwhile.
change_writers = Table(
    "change_writers",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=True),
    Column("start_time", BigInteger, nullable=False),
    # The sequence of its newest entry.
    Column("newest_sequence", BigInteger, nullable=False, server_default="0"),
    # The sequence of the newest entry that retention has removed; 0 while all are kept.
    Column("removed_sequence", BigInteger, nullable=False, server_default="0"),
    # The turn of its newest entry.
    Column("newest_turn", BigInteger, nullable=False, server_default="0"),
)

# One row for each commit that changed results, links, laboratories or reminders: which ones, in one compressed list.
changes = Table(
    "changes",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    # Counts the writer's commits from 1, without a gap.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("commit_time", BigInteger, nullable=False),
    # Empty where none is concerned.
    Column("lab", String(18), nullable=False),
    # zlib over JSON: [[report_number, revision], …] in the order of the upload; of links and laboratories [[id, 0], …].
    Column("reports", LargeBinary, nullable=False),
    # What the list names: services.results.changelog.log.ChangeKind.
    Column("kind", SmallInteger, nullable=False, server_default="0"),
    # Greater than the turn of every commit that was over when the entry was made; 0 of entries older than turns.
    Column("turn", BigInteger, nullable=False, server_default="0"),
)

# The identity of this node's change log, in one row: another when the log begins anew.
log_identity = Table(
    "log_identity",
    metadata,
    Column("log_id", String(36), primary_key=True),
)

# At a province, how many of a writer's commits the nation has acknowledged.
nationwide_places = Table(
    "nationwide_places",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("acknowledged", BigInteger, nullable=False),
)

# At a province, when the nation had what a commit changed: results know their commit by laboratory and upload time.
nationwide_times = Table(
    "nationwide_times",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("upload_time", BigInteger, primary_key=True, autoincrement=False),
    Column("nationwide_time", BigInteger, nullable=False),
)

# How long results took from upload to the nation: as `delays`.
nationwide_delays = Table(
    "nationwide_delays",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_hour", Integer, primary_key=True, autoincrement=False),
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
)

# At the nation, the nodes that replicate to it. Times are microseconds, as everywhere.
nodes = Table(
    "nodes",
    metadata,
    Column("node", String(6), primary_key=True),
    # By the node's clock: everything acknowledged there up to then is here. NULL before its first heartbeat.
    Column("as_of_time", BigInteger),
    Column("contact_time", BigInteger, nullable=False),
    Column("backlog", BigInteger, nullable=False),
    # How far the node's clock is ahead.
    Column("clock_skew", BigInteger, nullable=False),
    Column("conflict_count", BigInteger, nullable=False),
    # The number of the newest notice to the node.
    Column("newest_notice", BigInteger, nullable=False),
)

# At the nation, how many of a writer's commits are durable here.
replicated_places = Table(
    "replicated_places",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("log_id", String(36), primary_key=True),
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("committed", BigInteger, nullable=False),
    # Of the last of them at its node; NULL for none.
    Column("commit_time", BigInteger),
)

# At the nation, which nodes have registered a laboratory: there its reminders go.
lab_homes = Table(
    "lab_homes",
    metadata,
    Column("uscc", String(18), primary_key=True),
    Column("node", String(6), primary_key=True),
)

# At the nation, whose results a node has taken into its own store and wants to keep true. At a province, whose it has
# taken in, under the region of the node that tells it of them: the nation's.
followed_subjects = Table(
    "followed_subjects",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), primary_key=True),
    Column("node", String(6), primary_key=True),
    # When it was last asked for. Older than all that is kept, with nothing kept of the person, it ends.
    Column("follow_time", BigInteger, nullable=False, server_default="0"),
)

# At the nation, what a node is to be told, in the order of its numbers: a commit holds the node's row to its end.
notices = Table(
    "notices",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    Column("lab", String(18), nullable=False),
    # As in changes.
    Column("reports", LargeBinary, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
)

# At a province, how many notices of the nation are dealt with, in one row.
notice_places = Table(
    "notice_places",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("dealt", BigInteger, nullable=False),
    # When the last of them was committed there: tells a nation that was restored from an older copy. NULL for none.
    Column("commit_time", BigInteger),
)

# Reports that a holder has shown and that had no record: reminders to their laboratories. One is closed when the report
# has a key in report_keys; nothing needs to be written then.
follow_ups = Table(
    "follow_ups",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_number", String(64), primary_key=True),
    Column("create_time", BigInteger, nullable=False),
    # The region of the node where it was raised.
    Column("raised_by", String(6), nullable=False),
    # Whether the laboratory is another node's, which has been told: then it is not listed here.
    Column("passed_on", Boolean, nullable=False),
    Index("ix_follow_ups_create_time", "create_time"),
)

# How long laboratories took from report to upload: persons by hour of report and by class of delay.
delays = Table(
    "delays",
    metadata,
    Column("lab", String(18), primary_key=True),
    # Hours since 1970-01-01T00:00:00Z of the report time.
    Column("report_hour", Integer, primary_key=True, autoincrement=False),
    # See services.results.timeliness.delays: grows by a twentieth from class to class.
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
    Column("last_upload_time", BigInteger, nullable=False),
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

requests = request_memory(metadata, "results")
