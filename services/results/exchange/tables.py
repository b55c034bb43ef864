"""Tables of the exchange between nodes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Table

from services.audit.tables import HEAD_LENGTH
from services.domain.subject import KEY_LENGTH
from services.results.schema import metadata
from services.storage.columns import LEFT_OUT
from services.storage.life import LIFE_LENGTH

# At a node with a node above: how many of a writer's commits the node above has acknowledged.
acknowledged_positions = Table(
    "acknowledged_positions",
    metadata,
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("acknowledged", BigInteger, nullable=False),
)

# At a node with nodes below: the nodes that replicate to it. Times are in microseconds.
nodes = Table(
    "nodes",
    metadata,
    Column("node", String(6), primary_key=True),
    # Everything that the node acknowledged before this instant of its clock is here. NULL before the first checkpoint.
    Column("as_of_time", BigInteger),
    Column("contact_time", BigInteger, nullable=False),
    Column("backlog", BigInteger, nullable=False),
    # How far the node's clock is ahead.
    Column("clock_skew", BigInteger, nullable=False),
    Column("conflict_count", BigInteger, nullable=False),
    # Changes that were set aside, by reason.
    Column("not_its_own_count", BigInteger, nullable=False, server_default="0"),
    Column("second_registration_count", BigInteger, nullable=False, server_default="0"),
    # The number of the newest notification to the node.
    Column("newest_notification", BigInteger, nullable=False),
    # When, why and by whom the node was retired. No decision is UNDETERMINED because a retired node is silent. The time
    # is NULL if the node is not retired.
    Column("retire_time", BigInteger),
    Column("retire_reason", String(500), nullable=False, server_default=""),
    Column("retire_actor", String(100)),
)

# Nodes below the nodes of the table "nodes", at any depth. The nodes of the table "nodes" state them in checkpoints.
relayed_nodes = Table(
    "relayed_nodes",
    metadata,
    Column("node", String(6), primary_key=True),
    # The node of the table "nodes" that states this node.
    Column("relaying_node", String(6), nullable=False),
    # A hutong.results.v1.SourceState.
    Column("state", SmallInteger, nullable=False),
    # Everything that the node acknowledged before this instant of its clock is here; NULL if it is not known.
    Column("as_of_time", BigInteger),
    # When the node last sent something to the node above it, by the clock of that node above; NULL if that is not
    # known.
    Column("contact_time", BigInteger, info={LEFT_OUT: True}),
    # The number of commits that the node had not sent at the contact time.
    Column("backlog", BigInteger, nullable=False, server_default="0", info={LEFT_OUT: True}),
    # What the node above this node has counted about it, as in the table "nodes". The skew is NULL if it is not known.
    Column("clock_skew", BigInteger, info={LEFT_OUT: True}),
    Column("conflict_count", BigInteger, nullable=False, server_default="0", info={LEFT_OUT: True}),
    Column("not_its_own_count", BigInteger, nullable=False, server_default="0", info={LEFT_OUT: True}),
    Column("second_registration_count", BigInteger, nullable=False, server_default="0", info={LEFT_OUT: True}),
    # The regions of the nodes between relaying_node and the node, separated by "/", the nearest to relaying_node first.
    Column("path", String(40), nullable=False, server_default="", info={LEFT_OUT: True}),
    # When and why an operator of the node above this node retired it; NULL and empty if it is not retired, or if that
    # is not known.
    Column("retire_time", BigInteger, info={LEFT_OUT: True}),
    Column("retire_reason", String(500), nullable=False, server_default="", info={LEFT_OUT: True}),
)

# At a node with nodes below: how many of a writer's commits are durable here.
replicated_positions = Table(
    "replicated_positions",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("log_id", String(36), primary_key=True),
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("committed", BigInteger, nullable=False),
    # When the node made the last of these commits; NULL if there was none.
    Column("commit_time", BigInteger),
)

# At a node with nodes below: for each life of a node's database, the newest sequence of each writer that is durable
# here. A consistency token names such a position. A later life of a node has a greater ordinal.
replicated_lives = Table(
    "replicated_lives",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("life", String(LIFE_LENGTH), primary_key=True),
    Column("writer_id", Integer, primary_key=True, autoincrement=False),
    Column("newest_sequence", BigInteger, nullable=False),
    Column("ordinal", BigInteger, nullable=False),
)

# The kinds of changes (ChangeKind) that were not sent to a node above or below, because that node does not know them.
# Once the node knows a kind, all stored changes of the kind are sent, and the row is removed.
withheld_kinds = Table(
    "withheld_kinds",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
)

# At a node with nodes below: the number of each node's current replication stream.
replication_streams = Table(
    "replication_streams",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("stream", BigInteger, nullable=False),
)

# At a node with nodes below: the nodes that have registered a laboratory. If the laboratory has a firm home, only the
# home has a row. The laboratory's missing reports are listed at these nodes.
lab_homes = Table(
    "lab_homes",
    metadata,
    Column("uscc", String(18), primary_key=True),
    Column("node", String(6), primary_key=True),
)

# The subjects whose results a node keeps up to date. In a row with a node below, that node has imported the subject, or
# the subject is adverse and that node has results of it. A row with the region of this node itself marks a subject that
# has had a positive result. In a row with the nation, at a node with a node above, the node above notifies this node of
# the subject. A row has no version of its key and keeps no version in use, because a node subscribes to both keys of a
# subject while the pepper rotates. A row under the older key ends when the results under it have been purged.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), primary_key=True),
    Column("node", String(6), primary_key=True),
    # When the subscription was made or last renewed. A subscription ends when this time is before the horizon and no
    # result of the subject is kept.
    Column("subscribe_time", BigInteger, nullable=False, server_default="0"),
)

# The report after which the marking of stored adverse subjects continues. The table has at most one row. The
# transaction in which the first node joins below this one inserts the row. The row stays until all reports that were
# stored before that have been read.
marking_positions = Table(
    "marking_positions",
    metadata,
    Column("marking", SmallInteger, primary_key=True, autoincrement=False),
    Column("lab", String(18), nullable=False),
    Column("report_number", String(64), nullable=False),
)

# At a node with nodes below: notifications to a node. A commit locks the node's row, so numbers are in the order of
# commits.
notifications = Table(
    "notifications",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    Column("lab", String(18), nullable=False),
    # Encoded as in the table `changes`.
    Column("reports", LargeBinary, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
)

# At a node with a node above: how many of its notifications this node has processed. The table has one row.
notification_positions = Table(
    "notification_positions",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("processed", BigInteger, nullable=False),
    # When the node above committed the last of them; NULL if there was none. The time shows whether the node above was
    # restored from a copy.
    Column("commit_time", BigInteger),
)

# At a node with a node above: for each life of the database of the node above, the newest notification that a
# subscription of this node used up there. A row is deleted once the node above has known it in a watch that began after
# it. The time shows whether the node above was restored from a copy.
subscription_positions = Table(
    "subscription_positions",
    metadata,
    Column("life", String(LIFE_LENGTH), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    # How many answers to subscriptions have been stored in this row. Answers may be stored in another order than that
    # of their numbers.
    Column("stored_count", BigInteger, nullable=False),
    info={LEFT_OUT: True},
)

# At a node with a node above: the newest head of each chain of this node's audits, which is sent with a checkpoint.
audit_heads_to_send = Table(
    "audit_heads_to_send",
    metadata,
    Column("service", String(16), primary_key=True),
    Column("chain", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("head", LargeBinary(HEAD_LENGTH), nullable=False),
)

# At a node with nodes below: heads of their audits. The heads prove later that the rows of the audit before them were
# not changed.
held_audit_heads = Table(
    "held_audit_heads",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("service", String(16), primary_key=True),
    Column("chain", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("head", LargeBinary(HEAD_LENGTH), nullable=False),
    Column("receive_time", BigInteger, nullable=False),
)
