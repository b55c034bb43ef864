"""The heads of the audits of the nodes below.

Each head was sent with a checkpoint, and its node cannot take it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hutong.audit.v1.audit_head_pb2 import AuditHead
from sqlalchemy import ColumnElement, Connection, delete, func, select, tuple_

from services.domain.instant import DAY, SECOND, Instant, shanghai_day, shanghai_day_start
from services.results.exchange import tables
from services.storage.upsert import insert_if_absent

KEPT = 3 * 365 * DAY
"""How long heads are kept: three years, as long as the audit keeps changes."""
LEAST_GAP = 30 * SECOND
"""The shortest time between two stored heads of one chain. The limit prevents a node from filling the table."""
_heads = tables.held_audit_heads


class HeldHead(NamedTuple):
    """A head, and when it came."""

    head: AuditHead
    receive_time: Instant


class HeadPosition(NamedTuple):
    """The position of a head in the list of a node's heads."""

    service: str = ""
    chain: int = 0
    number: int = 0


def hold_heads(connection: Connection, node: str, heads: Sequence[AuditHead], now: Instant) -> list[AuditHead]:
    """Store the heads that a node has sent. Return the sent heads that differ from a stored head of the same seal.

    A stored head is never replaced. Of each day before yesterday only the last head is kept, because a head covers
    everything before it.
    """
    differing = []
    for head in heads:
        chain = _of_chain(node, head)
        held = connection.execute(select(_heads.c.head).where(*chain, _heads.c.number == head.number)).scalar()
        if held is not None:
            if bytes(held) != head.head:
                differing.append(head)
            continue
        newest = _newest_time(connection, chain)
        if now - newest < LEAST_GAP:
            continue
        values = {"service": head.service, "chain": int(head.chain), "number": head.number, "head": head.head}
        # Two streams of a node may be open at the same time, while the older one ends.
        connection.execute(insert_if_absent(connection, _heads).values(node=node, receive_time=now, **values))
        if newest < shanghai_day_start(shanghai_day(now)):
            _thin_out(connection, chain, now)
    return differing


def list_heads(connection: Connection, node: str, after: HeadPosition, limit: int) -> list[HeldHead]:
    """Return at most `limit` heads of a node after a position, by service, chain and number."""
    columns = (_heads.c.service, _heads.c.chain, _heads.c.number)
    query = (
        select(*columns, _heads.c.head, _heads.c.receive_time)
        .where(_heads.c.node == node, tuple_(*columns) > tuple(after))
        .order_by(*columns)
        .limit(limit)
    )
    return [
        HeldHead(AuditHead(service=service, chain=chain, number=number, head=head), time)
        for service, chain, number, head, time in connection.execute(query)
    ]


def _thin_out(connection: Connection, chain: Sequence[ColumnElement[bool]], now: Instant) -> None:
    """Remove heads that are too old. Of each day before yesterday keep only the last head."""
    connection.execute(delete(_heads).where(*chain, _heads.c.receive_time < now - KEPT))
    yesterday = shanghai_day_start(shanghai_day(now) - 1)
    query = select(_heads.c.number, _heads.c.receive_time).where(*chain, _heads.c.receive_time < yesterday)
    last_of_day: dict[int, int] = {}
    numbers = []
    for number, time in connection.execute(query.order_by(_heads.c.number)):
        numbers.append(number)
        last_of_day[shanghai_day(time)] = number
    surplus = sorted(set(numbers) - set(last_of_day.values()))
    for start in range(0, len(surplus), 500):
        connection.execute(delete(_heads).where(*chain, _heads.c.number.in_(surplus[start : start + 500])))


def _of_chain(node: str, head: AuditHead) -> tuple[ColumnElement[bool], ...]:
    return _heads.c.node == node, _heads.c.service == head.service, _heads.c.chain == int(head.chain)


def _newest_time(connection: Connection, chain: Sequence[ColumnElement[bool]]) -> Instant:
    """Return when the newest head of a chain came; 0 if there is none."""
    return connection.execute(select(func.max(_heads.c.receive_time)).where(*chain)).scalar() or 0
