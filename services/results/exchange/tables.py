"""Tables of the exchange between nodes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.results.schema import metadata

# At a province, how many of a writer's commits the nation has acknowledged.
acknowledged_positions = Table(
    "acknowledged_positions",
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
    # The number of the newest notification to the node.
    Column("newest_notification", BigInteger, nullable=False),
)

# At the nation, how many of a writer's commits are durable here.
replicated_positions = Table(
    "replicated_positions",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("log_id", String(36), primary_key=True),
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("committed", BigInteger, nullable=False),
    # Of the last of them at its node; NULL for none.
    Column("commit_time", BigInteger),
)

# At the nation, which nodes have registered a laboratory: there its missing reports are listed.
lab_homes = Table(
    "lab_homes",
    metadata,
    Column("uscc", String(18), primary_key=True),
    Column("node", String(6), primary_key=True),
)

# At the nation, the subjects whose results a node has taken into its own store and wants to keep up to date. At a
# province, the subjects whose results it has taken in, under the region of the node that notifies it: the nation's.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), primary_key=True),
    Column("node", String(6), primary_key=True),
    # When it was last asked for. It ends when that is before the horizon and nothing of the subject is kept.
    Column("subscribe_time", BigInteger, nullable=False, server_default="0"),
)

# At the nation, notifications to a node, in the order of their numbers: a commit holds the node's row to its end.
notifications = Table(
    "notifications",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    Column("lab", String(18), nullable=False),
    # As in changes.
    Column("reports", LargeBinary, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
)

# At a province, how many notifications of the nation are dealt with, in one row.
notification_positions = Table(
    "notification_positions",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("dealt", BigInteger, nullable=False),
    # When the last of them was committed there: tells a nation that was restored from an older copy. NULL for none.
    Column("commit_time", BigInteger),
)
