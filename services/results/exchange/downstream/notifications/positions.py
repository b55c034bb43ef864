"""Positions of watches among the notifications to a node."""

from __future__ import annotations

from hutong_texts import english
from sqlalchemy import Connection, delete, select

from services.domain.errors import OutOfRange
from services.domain.instant import format_instant
from services.results.exchange.model import NotificationPosition
from services.results.exchange.tables import nodes, notifications

_nodes, _notifications = nodes, notifications


def open_watch(connection: Connection, node: str, position: NotificationPosition) -> None:
    """Check a watch's position and delete the notifications before it.

    The notification at the position stays, because it identifies the position.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, the position is unknown here, or notifications after it are gone.
    """
    if position.number:
        of_node = (_notifications.c.node == node, _notifications.c.number == position.number)
        commit_time = connection.execute(select(_notifications.c.commit_time).where(*of_node)).scalar()
        if commit_time is None or commit_time != position.commit_time:
            raise _too_old(connection, node)
    connection.execute(
        delete(_notifications).where(_notifications.c.node == node, _notifications.c.number < position.number)
    )


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
