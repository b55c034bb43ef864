"""The tables of a service's approvals. Their names begin with the service, because services may share a database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table


def approval_tables(metadata: MetaData, service: str) -> tuple[Table, Table]:
    """Return the tables of a service's pending changes and of its emergency grants."""
    return _pending_changes(metadata, service), _emergency_grants(metadata, service)


def _pending_changes(metadata: MetaData, service: str) -> Table:
    """Return the table of a service's pending changes. It stays small, because people make the changes one by one."""
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
        # When the last transaction of the change was committed. A recall takes several transactions.
        Column("complete_time", BigInteger),
        Column("changed_count", BigInteger, nullable=False),
        # The consistency token of the approved change; empty before the change is complete.
        Column("consistency_token", String(200), nullable=False),
        # The emergency grant under which the proposer approved the change alone; NULL if another caller approved it.
        Column("grant_id", String(36)),
    )


def _emergency_grants(metadata: MetaData, service: str) -> Table:
    """Return the table of a service's emergency grants.

    It stays small, because people open grants only in emergencies.
    """
    table = Table(
        f"{service}_emergency_grants",
        metadata,
        # A UUID version 7, so that the ids sort by creation.
        Column("grant_id", String(36), primary_key=True),
        Column("role", String(16), nullable=False),
        Column("holder", String(100), nullable=False),
        # The hash of the person behind the holder's token; empty without one.
        Column("person", String(64), nullable=False),
        Column("region", String(6), nullable=False),
        Column("reason", String(256), nullable=False),
        Column("create_time", BigInteger, nullable=False),
        Column("expire_time", BigInteger, nullable=False),
        # When a caller ended the grant before its time.
        Column("end_time", BigInteger),
        Column("ender", String(100), nullable=False),
        Column("approved_count", Integer, nullable=False),
        Column("reviewer", String(100), nullable=False),
        Column("review_time", BigInteger),
        Column("review_note", String(256), nullable=False),
    )
    # A holder has at most one grant that is not reviewed, even if two processes open a grant at the same moment.
    is_unreviewed = table.c.review_time.is_(None)
    Index(
        f"ix_{service}_emergency_grants_holder",
        table.c.holder,
        unique=True,
        sqlite_where=is_unreviewed,
        postgresql_where=is_unreviewed,
    )
    return table
