"""Tables of the register of laboratories."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger, String, Table

from services.domain.normal_form import MAX_LENGTH
from services.results.schema import metadata

labs = Table(
    "labs",
    metadata,
    Column("uscc", String(18), primary_key=True),
    Column("display_name", String(200), nullable=False),
    Column("region", String(6), nullable=False),
    Column("contact", String(200), nullable=False),
    Column("authorize_time", BigInteger),
    Column("create_time", BigInteger, nullable=False),
    # At the nation, the node from which the row came; empty for a laboratory that this node registered itself.
    Column("source_node", String(6), nullable=False, server_default=""),
    # At the nation, the laboratory's home, whose standings count beside the nation's own (docs/architecture.md §4.6).
    # Empty if the laboratory has no home.
    Column("home", String(6), nullable=False, server_default=""),
    # The normal form of display_name. The collation orders by code point, so that the index also finds prefixes.
    Column(
        "normal_name",
        String(MAX_LENGTH).with_variant(String(MAX_LENGTH, collation="C"), "postgresql"),
        nullable=False,
        server_default="",
    ),
    Index("ix_labs_normal_name", "normal_name"),
)

lab_standings = Table(
    "lab_standings",
    metadata,
    Column("uscc", String(18), primary_key=True),
    # Counts a laboratory's entries from 1, in the order in which they were recorded.
    Column("entry", Integer, primary_key=True),
    Column("standing", SmallInteger, nullable=False),
    # NULL if the standing holds from the beginning.
    Column("effective_time", BigInteger),
    Column("reason", String(500), nullable=False),
    Column("record_time", BigInteger, nullable=False),
    # The node that sent the entry; empty for an entry that was recorded here.
    Column("source_node", String(6), nullable=False, server_default=""),
    # The caller's name. NULL if another node recorded the entry, or if the entry is older than this column.
    Column("actor", String(100)),
)

# At a province, the laboratories of all nodes, as the nation sends them. Copies of results therefore count as they do
# at their origin.
lab_copies = Table(
    "lab_copies",
    metadata,
    Column("uscc", String(18), primary_key=True),
    Column("display_name", String(200), nullable=False),
    Column("region", String(6), nullable=False),
    Column("authorize_time", BigInteger),
    Column("create_time", BigInteger, nullable=False),
    # Whether another node is the laboratory's home. If so, this node's own entries do not count.
    Column("is_elsewhere", Boolean, nullable=False),
    # The history of the standing, as JSON.
    Column("standings", LargeBinary, nullable=False),
    # The laboratory's home as the node above states it; empty if it is not known.
    Column("home", String(6), nullable=False, server_default=""),
)

lab_signing_keys = Table(
    "lab_signing_keys",
    metadata,
    Column("uscc", String(18), primary_key=True),
    # SHA-256 of the public key.
    Column("key_hash", LargeBinary(32), primary_key=True),
    # The node that sent the key; empty for a key that was recorded here.
    Column("source_node", String(6), primary_key=True),
    # DER SubjectPublicKeyInfo.
    Column("public_key", LargeBinary(200), nullable=False),
    Column("create_time", BigInteger, nullable=False),
    # NULL while the key is good.
    Column("revoke_time", BigInteger),
    # The caller's name. NULL if another node recorded the key.
    Column("actor", String(100)),
)
