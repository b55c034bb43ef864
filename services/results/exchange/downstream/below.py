"""Subscribers of the change log at a node that may have nodes below it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from services.domain.instant import Instant
from services.domain.region import NATION
from services.results.changelog.model import LoggedChange
from services.results.exchange import tables
from services.results.exchange.downstream.notifications.notifications import notify_nodes
from services.results.exchange.homes.register import record_homes
from services.storage.advisory_locks import AdvisoryLock, share_until_commit


class NodesBelow:
    """Records homes and notifies the nodes below. It does nothing while there are none, which each commit asks.

    `own` is the region of this node. The nation always has nodes below.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._exist = own == NATION

    def record_homes(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Compute the homes of laboratories that this node has registered."""
        if self._are_there(connection):
            record_homes(connection, changes, now, self._own)

    def notify(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Notify the nodes below of changes that concern them."""
        if self._are_there(connection):
            notify_nodes(connection, changes, now, self._own)

    def _are_there(self, connection: Connection) -> bool:
        if not self._exist:
            # The first node that joins waits for this lock (`subscribers.mark_stored`), so it sees what this commit
            # brings, or this commit sees the node.
            share_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
            self._exist = connection.execute(select(tables.nodes.c.node).limit(1)).first() is not None
        return self._exist
