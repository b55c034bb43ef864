"""The tables of linked documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, String, Table

from services.domain.subject import KEY_LENGTH
from services.results.schema import metadata

# The two keys of each document that has links, while the pepper rotates. A pair has two rows, one for each direction. A
# link has keys of one version only, but results of its documents may be stored under keys of the other version.
key_pairs = Table(
    "key_pairs",
    metadata,
    Column("subject_key", LargeBinary(KEY_LENGTH), primary_key=True),
    Column("other_key", LargeBinary(KEY_LENGTH), nullable=False),
)

# Requests of nodes below to end links that are not stored here. After a restore, a request may arrive before its link.
link_end_requests = Table(
    "link_end_requests",
    metadata,
    Column("link_id", String(36), primary_key=True),
    # The region of the node that made the link; empty for this node.
    Column("source_node", String(6), nullable=False),
    # The region of the node that asks for the end of the link.
    Column("node", String(6), primary_key=True),
    Column("receive_time", BigInteger, nullable=False),
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
    # NULL while the link is active.
    Column("unlink_time", BigInteger),
    Column("unlink_reason", String(500), nullable=False),
    # The node that made the link; empty for this node.
    Column("source_node", String(6), nullable=False, server_default=""),
    # The region of the node where the link was removed, if another node made the link; NULL otherwise. At the nation,
    # an active link has here the node that asks for its end.
    Column("unlink_node", String(6)),
    # The callers' names. NULL if another node made or ended the link, or if the row is older than these columns.
    Column("actor", String(100)),
    Column("unlink_actor", String(100)),
    # The version of both keys.
    Column("key_version", SmallInteger, nullable=False, server_default="1"),
    Index("ix_document_links_subject_key", "subject_key"),
    Index("ix_document_links_linked_subject_key", "linked_subject_key"),
)
