"""At a province, the nation's notifications: stored together with the position among them, and its subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from services.domain.region import NATION
from services.results.exchange import tables
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.model import Change, NotificationPosition, Replica
from services.results.exchange.result_writer import Applied, Arrival
from services.results.exchange.subscribers import list_subscribed
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.records.tables import results
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent

_positions = tables.notification_positions
_results = results
_ROW = _positions.c.node == NATION


class NotificationStore:
    """A province's notifications and subscriptions in the database."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        jurisdiction: str,
        applier: ChangeApplier,
        partitions: PartitionMaintainer,
    ) -> None:
        self._database = database
        self._clock = clock
        self._jurisdiction = jurisdiction
        self._applier = applier
        self._partitions = partitions

    async def read_position(self) -> NotificationPosition | None:
        """How many notifications are dealt with; None at a node that was never told anything."""
        return await self._database.read(_read_position)

    async def begin_anew(self, position: NotificationPosition | None) -> None:
        """Be told everything that is kept; `position` is that of the notifications which no longer count."""
        await self._database.write(_begin_anew, position)

    async def list_subscribed(self, after: bytes, limit: int) -> list[bytes]:
        """Keys of subjects whose results were taken in, in their order, from the one after `after` on."""
        return await self._database.read(list_subscribed, NATION, after, limit)

    async def take(self, changes: Sequence[Change], position: NotificationPosition | None = None) -> Applied:
        """Take changes in, and with them the position after them, if they are a notification's: both or neither."""
        await self._partitions.prepare(
            [change.result.reference_time for change in changes if isinstance(change, Replica)]
        )
        return await self._database.write(self._take, changes, position)

    def _take(
        self, connection: Connection, changes: Sequence[Change], position: NotificationPosition | None
    ) -> Applied:
        known = _with_masks(connection, changes)
        applied = self._applier.apply(connection, known, Arrival(self._jurisdiction, NATION, self._clock.now()))
        if position is not None:
            # Another process of this node may be further.
            later = update(_positions).where(_ROW, _positions.c.dealt < position.number)
            connection.execute(later.values(dealt=position.number, commit_time=position.commit_time))
        return applied


def _with_masks(connection: Connection, changes: Sequence[Change]) -> list[Change]:
    """Results with the masked number that others of the same document bear here: the nation knows none.

    One was shown here, when its holder's results were first taken in or by a laboratory of this node; where no result
    came of that, there is none yet.
    """
    keys = {change.result.subject_key for change in changes if isinstance(change, Replica)}
    bearing = select(_results.c.subject_key, _results.c.masked_number).where(
        _results.c.subject_key.in_(keys), _results.c.masked_number != ""
    )
    masks: dict[bytes, str] = dict(connection.execute(bearing).all()) if keys else {}
    return [
        change._replace(result=change.result._replace(masked_number=masks[change.result.subject_key]))
        if isinstance(change, Replica) and change.result.subject_key in masks
        else change
        for change in changes
    ]


def _read_position(connection: Connection) -> NotificationPosition | None:
    row = connection.execute(select(_positions.c.dealt, _positions.c.commit_time).where(_ROW)).first()
    return None if row is None else NotificationPosition(*row)


def _begin_anew(connection: Connection, position: NotificationPosition | None) -> None:
    new = insert_if_absent(connection, _positions)
    connection.execute(new.values(node=NATION, dealt=0, commit_time=None))
    if position is not None:
        # Unless another process of this node has begun anew meanwhile.
        old = update(_positions).where(_ROW, _positions.c.dealt == position.number)
        connection.execute(old.values(dealt=0, commit_time=None))
