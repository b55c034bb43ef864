"""The tables of the Policy service. Times are BIGINT microseconds since 1970-01-01T00:00:00Z."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table

from services.approval.tables import approval_tables
from services.audit.tables import audit_tables
from services.domain.region import NATION
from services.storage.columns import LEFT_OUT, READ_AS, new_metadata
from services.storage.deletion_counts import deletion_counts_table
from services.storage.idempotency import request_memory
from services.storage.life import LIFE_LENGTH

metadata = new_metadata()
audit = audit_tables(metadata, "policy")
pending_changes, emergency_grants = approval_tables(metadata, "policy")

# A revision never changes, except that its withdrawal may be added later.
policies = Table(
    "policies",
    metadata,
    Column("region", String(6), primary_key=True),
    Column("policy_id", String(63), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("title", String(200), nullable=False),
    Column("floor", Boolean, nullable=False),
    Column("effective_start_time", BigInteger, nullable=False),
    Column("effective_end_time", BigInteger),
    # What the authority stated: a serialized hutong.policy.v1.Policy without its output-only fields.
    Column("statement", LargeBinary, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("retroactive_reason", String(500), nullable=False),
    Column("publish_time", BigInteger, nullable=False),
    Column("withdraw_time", BigInteger),
    Column("withdraw_reason", String(500), nullable=False),
    # The names of the callers. NULL if another node published or withdrew the revision, or if the row is older than
    # these columns.
    Column("actor", String(100)),
    Column("withdraw_actor", String(100)),
    # The region of the node that published the revision; NULL if the revision is older than this column.
    Column("node", String(6), info={LEFT_OUT: True}),
)

# Every publication and withdrawal, in the order of their commits. A lock serializes the writers
# (AdvisoryLock.POLICY_CHANGE). A reader that has seen a sequence has therefore seen all lower sequences.
policy_changes = Table(
    "policy_changes",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("region", String(6), nullable=False),
    Column("policy_id", String(63), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    # The life of the database in which the change was made; empty if the change is older than this column.
    Column("life", String(LIFE_LENGTH), nullable=False, server_default=""),
    Index("ix_policy_changes_region_policy_id_revision", "region", "policy_id", "revision"),
)

# The position in the watch of the node above: the cursor of that node, and an instant of that node's clock.
upstream_positions = Table(
    "upstream_positions",
    metadata,
    Column("region", String(6), primary_key=True),
    Column("cursor", String(256), nullable=False),
    Column("as_of_time", BigInteger, nullable=False),
    # When this node had received all policies of the node above that apply to its region; NULL until then. Before that,
    # this node publishes nothing.
    Column("founded_time", BigInteger, info={LEFT_OUT: True, READ_AS: "{row}as_of_time"}),
)

# The nodes below this one. Only a node itself publishes for its own region.
nodes_below = Table(
    "nodes_below",
    metadata,
    Column("region", String(6), primary_key=True),
    # The number of the node's newest stream. Messages of earlier streams are refused.
    Column("stream", BigInteger, nullable=False),
    # The cursor with which the node resumes its stream. Empty if the node is to send everything.
    Column("cursor", String(256), nullable=False),
    # The instant, by the node's clock, up to which its publications are known here; 0 if it is not known.
    Column("as_of_time", BigInteger, nullable=False),
)

# The newest known sequence of each life of the Policy database of each node above.
upstream_lives = Table(
    "upstream_lives",
    metadata,
    Column("life", String(LIFE_LENGTH), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    # The region of the node above.
    Column("region", String(6), nullable=False, server_default=NATION),
)

# The newest known sequence of each life of the Policy database of each node below. The node is part of the key, so that
# a node cannot state lives of another node.
lives_below = Table(
    "lives_below",
    metadata,
    Column("region", String(6), primary_key=True),
    Column("life", String(LIFE_LENGTH), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

requests = request_memory(metadata, "policy")
deletion_counts = deletion_counts_table(metadata, "policy")
