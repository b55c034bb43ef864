"""Tables of uploads: their state, rejections, and known batches."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, SmallInteger, String, Table, Text

from services.results.schema import metadata

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

# Batches that are stored, except for their rejected tubes, by a keyed hash of their tubes.
known_batches = Table(
    "known_batches",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),
    # Indexes of tubes in the batch, separated by spaces.
    Column("rejected_tubes", Text, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
)

# Rejections are stored, so that a replayed batch gets the same rejections again. They hold field paths and reasons,
# never the value of a field.
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
