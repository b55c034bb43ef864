"""Positions of watches among the notifications to a node."""

from __future__ import annotations

from collections.abc import Collection

from hutong_texts import english
from sqlalchemy import Connection, delete, select

from services.domain.errors import OutOfRange
from services.domain.instant import Instant, format_instant
from services.results.exchange.model import NotificationPosition, SubscriptionPosition
from services.results.exchange.tables import nodes, notifications
from services.storage.life import current_life

_nodes, _notifications = nodes, notifications


def open_watch(
    connection: Connection,
    node: str,
    position: NotificationPosition,
    subscribed: Collection[SubscriptionPosition],
    before: Instant,
) -> str:
    """Check a watch's position and those of the node's subscriptions, and delete the notifications before its position.

    Return the life of the database in which the positions are known. The notification at the position stays, because
    it identifies the position. So do those that were committed at or after `before`: the node may not have stored yet
    that a subscription used them up.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, a position is unknown here, or notifications after the position are gone.
    """
    of_node = _notifications.c.node == node
    stated = {(position.number, position.commit_time)} if position.number else set()
    stated |= {(one.number, one.commit_time) for one in subscribed}
    numbers = sorted({number for number, _ in stated})
    query = select(_notifications.c.number, _notifications.c.commit_time).where(
        of_node, _notifications.c.number.in_(numbers)
    )
    if stated and not stated <= {(row.number, row.commit_time) for row in connection.execute(query)}:
        raise _too_old(connection, node)
    passed = (_notifications.c.number < position.number, _notifications.c.commit_time < before)
    connection.execute(delete(_notifications).where(of_node, *passed))
    return read_life(connection)


def read_life(connection: Connection) -> str:
    """Return the life of the database in which notifications are numbered now."""
    life: str = connection.execute(select(current_life(connection, _notifications))).scalar_one()
    return life


def _too_old(connection: Connection, node: str) -> OutOfRange:
    query = (
        select(_notifications.c.commit_time)
        .where(_notifications.c.node == node)
        .order_by(_notifications.c.number)
        .limit(1)
    )
    oldest = connection.execute(query).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        english(
            "notifications after this cursor are not kept, or it is not of these; subscribe to "
            "every subject again and begin without a cursor"
        ),
        metadata={} if oldest is None else {"oldest": format_instant(oldest)},
    )


def newest_numbers(connection: Connection) -> dict[str, int]:
    """Return the number of the newest notification to each node."""
    return {
        row.node: row.newest_notification
        for row in connection.execute(select(_nodes.c.node, _nodes.c.newest_notification))
    }
