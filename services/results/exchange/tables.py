"""Tables of the exchange between nodes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.results.schema import metadata

# At a province, how many of a writer's commits the nation has acknowledged.
nationwide_places = Table(
    "nationwide_places",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("acknowledged", BigInteger, nullable=False),
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
