"""Stores notifications of the node above, the position among them, and this node's own subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.documents.key_pairs import keys_of
from services.results.documents.model import DocumentLink
from services.results.exchange import tables
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.arrival import Applied, Arrival
from services.results.exchange.lab_answers import count_dropped
from services.results.exchange.model import Change, NotificationPosition, Replica, StoredPosition, SubscriptionPosition
from services.results.exchange.subscribers import (
    add_subscriptions,
    forget_positions,
    list_positions,
    list_subscribed,
    record_positions,
)
from services.results.labs.cache import LabCache
from services.results.labs.model import Lab
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.records.tables import results
from services.runtime.audit import AuditEvent, AuditKind, AuditTrail
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent

_positions = tables.notification_positions
_results = results
_METHOD = "hutong.exchange.v1.ExchangeService/WatchNotifications"
_ROW = _positions.c.node == NATION


class NotificationStore:
    """Stores the changes in notifications together with the position, and lists this node's subscriptions."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        jurisdiction: str,
        applier: ChangeApplier,
        partitions: PartitionMaintainer,
        trail: AuditTrail | None = None,
        labs: LabCache | None = None,
    ) -> None:
        self._labs = labs
        self._trail = trail
        self._database = database
        self._clock = clock
        self._jurisdiction = jurisdiction
        self._applier = applier
        self._partitions = partitions

    async def read_position(self) -> NotificationPosition | None:
        """Return the position among the notifications; None at a node that has never subscribed."""
        return await self._database.read(read_position)

    async def list_stated(self) -> list[StoredPosition]:
        """Return the positions of subscriptions that a watch has to state."""
        return await self._database.read(list_positions)

    async def forget_stated(self, positions: Sequence[StoredPosition]) -> None:
        """Delete positions of subscriptions that need not be stated again."""
        await self._database.write(forget_positions, positions)

    async def restart(self, position: NotificationPosition | None, stated: Sequence[StoredPosition] = ()) -> None:
        """Reset the stored position to the beginning if it is still `position`, and delete the positions in `stated`.

        The node above did not know `position`, or one of `stated`. Since then, this node has subscribed again to every
        subject.
        """
        await self._database.write(_restart, position, stated)

    async def list_subscribed(self, after: bytes, limit: int) -> list[bytes]:
        """Return at most `limit` keys of subscribed subjects in ascending order, beginning after `after`."""
        return await self._database.read(list_subscribed, NATION, after, limit)

    async def apply(
        self,
        changes: Sequence[Change],
        position: NotificationPosition | None = None,
        subscribed: Sequence[bytes] = (),
        subscribed_at: Sequence[SubscriptionPosition] = (),
    ) -> Applied:
        """Store changes, the keys to which this node has subscribed because of them, and where it has subscribed.

        If the position after the changes is given, it is stored too. Everything is stored in one transaction.

        Raises:
            Unavailable: the database does not answer; nothing is stored.
        """
        await self._partitions.prepare(
            [change.result.reference_time for change in changes if isinstance(change, Replica)]
        )
        applied = await self._database.write(self._apply, changes, position, subscribed, subscribed_at)
        count_dropped(applied.dropped_answer_count)
        for change in changes:
            if isinstance(change, Lab) and self._labs is not None:
                self._labs.forget(change.uscc)
        return applied

    def _apply(
        self,
        connection: Connection,
        changes: Sequence[Change],
        position: NotificationPosition | None,
        subscribed: Sequence[bytes],
        subscribed_at: Sequence[SubscriptionPosition],
    ) -> Applied:
        now = self._clock.now()
        add_subscriptions(connection, NATION, subscribed, now)
        known = _with_masks(connection, changes)
        applied = self._applier.apply(connection, known, Arrival(self._jurisdiction, NATION, now))
        if position is not None:
            # Another process of this node may have stored a later position.
            later = update(_positions).where(_ROW, _positions.c.processed < position.number)
            connection.execute(later.values(processed=position.number, commit_time=position.commit_time))
        if self._trail is not None and applied.ended_links:
            self._trail.insert(
                connection,
                [_event(self._trail, link, key, now) for link in applied.ended_links for key in keys_of(link)],
            )
        record_positions(connection, subscribed_at)
        return applied


def _event(trail: AuditTrail, link: DocumentLink, subject_key: bytes, now: Instant) -> AuditEvent:
    """Return the audit's row for a link that this node made and that was removed at another node."""
    return AuditEvent(
        int(AuditKind.CHANGE),
        now,
        "",
        "node",
        format_node(link.unlink_node or NATION),
        "",
        "",
        _METHOD,
        0,
        trail.region,
        trail.name_object(f"links/{link.link_id}"),
        trail.tag_at(now)(subject_key),
        0,
        "",
        1,
    )


def _with_masks(connection: Connection, changes: Sequence[Change]) -> list[Change]:
    """Return results with the masked number that this node has for their document. The node above has no masks.

    The mask was made when a caller gave the document for the first import, or when a laboratory of this node uploaded
    it. If no result was stored then, there is no mask yet.
    """
    keys = {change.result.subject_key for change in changes if isinstance(change, Replica)}
    masked = select(_results.c.subject_key, _results.c.masked_number).where(
        _results.c.subject_key.in_(keys), _results.c.masked_number != ""
    )
    masks: dict[bytes, str] = dict(connection.execute(masked).all()) if keys else {}
    return [
        change._replace(result=change.result._replace(masked_number=masks[change.result.subject_key]))
        if isinstance(change, Replica) and change.result.subject_key in masks
        else change
        for change in changes
    ]


def read_position(connection: Connection) -> NotificationPosition | None:
    """Return the position up to which notifications of the node above are processed; None before the first."""
    row = connection.execute(select(_positions.c.processed, _positions.c.commit_time).where(_ROW)).first()
    return None if row is None else NotificationPosition(*row)


def _restart(connection: Connection, position: NotificationPosition | None, stated: Sequence[StoredPosition]) -> None:
    forget_positions(connection, stated)
    new = insert_if_absent(connection, _positions)
    connection.execute(new.values(node=NATION, processed=0, commit_time=None))
    if position is not None:
        # If another process of this node has reset the position already, nothing is reset.
        old = update(_positions).where(_ROW, _positions.c.processed == position.number)
        connection.execute(old.values(processed=0, commit_time=None))
