"""The table of a service's pending changes. Its name begins with the service, as services may share a database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, SmallInteger, String, Table


def pending_changes_table(metadata: MetaData, service: str) -> Table:
    """Return the table of a service's pending changes. It is small: people make the changes, one by one."""
    return Table(
        f"{service}_pending_changes",
        metadata,
        # A UUID version 7, so that the ids sort by creation.
        Column("change_id", String(36), primary_key=True),
        Column("method", String(100), nullable=False),
        Column("role", String(16), nullable=False),
        Column("region", String(6), nullable=False),
        Column("object", String(200), nullable=False),
        # A serialized google.protobuf.Any. It contains no identity.
        Column("change", LargeBinary, nullable=False),
        Column("item_count", BigInteger, nullable=False),
        Column("proposer", String(100), nullable=False),
        # The hash of the person behind the proposer's token; empty without one.
        Column("person", String(64), nullable=False),
        Column("create_time", BigInteger, nullable=False),
        Column("expire_time", BigInteger, nullable=False),
        # services.approval.model.State
        Column("state", SmallInteger, nullable=False),
        Column("decider", String(100), nullable=False),
        Column("decide_time", BigInteger),
        Column("reject_reason", String(256), nullable=False),
        # When the change was made as a whole. A recall takes several transactions.
        Column("complete_time", BigInteger),
        Column("changed_count", BigInteger, nullable=False),
        # The consistency token of the approved change; empty before it is complete.
        Column("consistency_token", String(200), nullable=False),
    )
