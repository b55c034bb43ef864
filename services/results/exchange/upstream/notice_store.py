"""At a province, what the nation tells: taken in together with how far it was told, and who is followed there."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from services.domain.region import NATION
from services.results.exchange import tables
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.model import Change, NoticePosition, Replica
from services.results.exchange.result_writer import Applied, Arrival
from services.results.exchange.subscribers import list_subscribed
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.records.tables import results
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent

_places = tables.notice_places
_results = results
_ROW = _places.c.node == NATION


class NoticeStore:
    """A province's books on what the nation tells it."""

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

    async def read_place(self) -> NoticePosition | None:
        """How many notices are dealt with; None at a node that was never told anything."""
        return await self._database.read(_read_place)

    async def begin_anew(self, place: NoticePosition | None) -> None:
        """Be told everything that is kept; `place` is that of the notices which no longer count."""
        await self._database.write(_begin_anew, place)

    async def list_subscribed(self, after: bytes, limit: int) -> list[bytes]:
        """Keys of persons whose results were taken in, in their order, from the one after `after` on."""
        return await self._database.read(list_subscribed, NATION, after, limit)

    async def take(self, changes: Sequence[Change], place: NoticePosition | None = None) -> Applied:
        """Take changes in, and with them the place after them, if they are a notice's: both or neither."""
        await self._partitions.prepare([change.result.file_time for change in changes if isinstance(change, Replica)])
        return await self._database.write(self._take, changes, place)

    def _take(self, connection: Connection, changes: Sequence[Change], place: NoticePosition | None) -> Applied:
        known = _with_masks(connection, changes)
        applied = self._applier.apply(connection, known, Arrival(self._jurisdiction, NATION, self._clock.now()))
        if place is not None:
            # Another process of this node may be further.
            later = update(_places).where(_ROW, _places.c.dealt < place.number)
            connection.execute(later.values(dealt=place.number, commit_time=place.commit_time))
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


def _read_place(connection: Connection) -> NoticePosition | None:
    row = connection.execute(select(_places.c.dealt, _places.c.commit_time).where(_ROW)).first()
    return None if row is None else NoticePosition(*row)


def _begin_anew(connection: Connection, place: NoticePosition | None) -> None:
    new = insert_if_absent(connection, _places)
    connection.execute(new.values(node=NATION, dealt=0, commit_time=None))
    if place is not None:
        # Unless another process of this node has begun anew meanwhile.
        old = update(_places).where(_ROW, _places.c.dealt == place.number)
        connection.execute(old.values(dealt=0, commit_time=None))
