"""The subscriber of the change log for nodes below this one, if there are any."""

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
    """Records homes and notifies the nodes below.

    Each commit checks whether there are nodes below. If there are none, nothing is done.

    `own` is the region of this node. The nation always has nodes below.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._exist = own == NATION

    def take(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Compute the homes of laboratories that this node has registered, then notify the nodes below."""
        if self._are_there(connection):
            record_homes(connection, changes, now, self._own)
            notify_nodes(connection, changes, now, self._own)

    def _are_there(self, connection: Connection) -> bool:
        # A commit that marks an adverse subject takes the lock exclusively. If two such commits already shared the
        # lock, each would wait for the other. The lock is therefore shared only while there is no node below.
        if not self._exist and not _is_any(connection):
            # The first node that joins waits for this lock (`subscribers.begin_marking`). Therefore either the
            # transaction of that node sees the changes of this commit, or this commit sees the node.
            share_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
            return _is_any(connection)
        self._exist = True
        return True


def _is_any(connection: Connection) -> bool:
    return connection.execute(select(tables.nodes.c.node).limit(1)).first() is not None
