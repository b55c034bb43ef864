"""Stores what is exchanged with other nodes: links, the outbox, and received reports."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import NamedTuple

import structlog
from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame, RefusalExchangeStart
from hutong.exchange.v1.replicated_refusal_pb2 import ReplicatedRefusal
from hutong_texts import english
from prometheus_client import Counter
from sqlalchemy import Connection, delete, literal, or_, select, update

from services.domain.errors import HutongError, InvalidArgument
from services.domain.instant import SECOND
from services.domain.names import format_node, format_refusal
from services.domain.nodes import node_between
from services.domain.region import ancestry
from services.domain.subject import Pepper
from services.runtime.clock import Clock
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.columns import in_region
from services.storage.engine import Database
from services.storage.process_lock import aio_try_process_lock
from services.storage.upsert import insert_if_absent
from services.verification.refusal_exchange.adoption import add_codes, name_nodes
from services.verification.refusal_exchange.convert import refusal_from_message, refusal_to_message
from services.verification.refusal_exchange.counts import receive_counts
from services.verification.refusal_exchange.merge import Standing, merge
from services.verification.refusal_exchange.numbers import FrameNumbers, begin_anew, numbers_of
from services.verification.refusal_exchange.streams import (
    ask_anew,
    columns_of,
    note_sent,
    read_numbers,
    renew_stream,
    require_newest,
)
from services.verification.refusals.outbox import read_links
from services.verification.refusals.report_writer import ReportWriter
from services.verification.refusals.rows import find_refusal, find_same, from_row, lock_same, write_changes
from services.verification.refusals.rules import Refusal
from services.verification.refusals.tables import refusal_links, refusal_outbox, refusals

BATCH = 50
"""The most reports of a frame. With texts of 2,000 characters they are about a megabyte."""

SET_ASIDE = Counter(
    "hutong_refusals_set_aside_total", "Reported refusals of other nodes that were set aside", ["node", "reason"]
)

_links = refusal_links.c
_outbox = refusal_outbox.c
_C = refusals.c
_log = structlog.get_logger(__name__)


class Outgoing(NamedTuple):
    """A report of the outbox: its id, the version of its row, and its message; None if the report was purged."""

    uuid: str
    version: int
    message: ReplicatedRefusal | None


class Begun(NamedTuple):
    """A stream that has begun: the numbers of the link's frames, and the number of the stream."""

    numbers: FrameNumbers
    stream: int


class _Received(NamedTuple):
    """The names of the deferred reports of a frame, and how many reports were set aside, by reason."""

    deferred: list[str]
    set_aside: dict[str, int]


class RefusalExchangeStore:
    """The store of the exchange. `own` is the region of this node."""

    def __init__(self, database: Database, pepper: Pepper, clock: Clock, own: str, *, has_upstream: bool) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        self._own = own
        self._has_upstream = has_upstream
        self._has_adopted = False

    async def adopt_older_reports(self) -> None:
        """Complete the reports that processes of earlier versions have stored, once the schema allows it.

        Reports that were stored before reports named nodes get this node's name. Reports without a code of a receipt
        get a code.
        """
        if self._has_adopted or not self._database.has_current_schema:
            return
        await self._database.write(name_nodes, self._own)
        while await self._database.write(add_codes, self._own, self._pepper):
            pass
        self._has_adopted = True

    async def ask(self) -> FrameNumbers:
        """Return the numbers of the link to the node above. Earlier streams of the link change nothing from now on."""
        return await self._database.write(ask_anew)

    async def begin(
        self, start: RefusalExchangeStart, node: str, *, is_above: bool, retired: Collection[str] = ()
    ) -> Begun:
        """Begin a stream with a node.

        If the two nodes' numbers of the last frames do not fit together, everything that concerns the other node is to
        be sent again. If the node between this one and the caller is retired, its link ends.

        Raises:
            FailedPrecondition: NOT_AN_UPSTREAM, a third node is between this one and the caller and is not retired.
        """
        return await self._database.write(self._begin, start, node, is_above, retired)

    def _begin(
        self,
        connection: Connection,
        start: RefusalExchangeStart,
        node: str,
        is_above: bool,
        retired: Collection[str],
    ) -> Begun:
        lock_until_commit(connection, AdvisoryLock.REFUSAL_LINKS)
        if is_above:
            # A node has only one node above. What was to be sent to a former node above goes to the present node above.
            others = select(_links.node).where(_links.is_above, _links.node != node)
            connection.execute(delete(refusal_outbox).where(_outbox.node.in_(others)))
            connection.execute(delete(refusal_links).where(_links.is_above, _links.node != node))
        else:
            self._end_links_between(connection, node, retired)
        known = read_numbers(connection, node)
        numbers, stated = known or FrameNumbers(), numbers_of(start)
        if known is None:
            if not is_above:
                # Nodes below the caller may have called this node until now. From now on they are to call the caller.
                within_caller = in_region(_links.node, node) & ~_links.is_above
                below = select(_links.node).where(within_caller)
                connection.execute(delete(refusal_outbox).where(_outbox.node.in_(below)))
                connection.execute(delete(refusal_links).where(within_caller))
            new = insert_if_absent(connection, refusal_links)
            connection.execute(new.values(node=node, is_above=is_above, **columns_of(FrameNumbers()), stream=0))
        in_step = numbers.fits(stated)
        if known is None or not in_step:
            _log.info("all reported refusals of a link are sent again", node=format_node(node), is_new=known is None)
            self._enqueue_all(connection, node, is_above)
        # Of two nodes that send everything again, the node above begins with new numbers, and the node below takes them
        # over. A node above of the release before keeps its numbers.
        if in_step or (is_above and not start.HasField("sent_number")):
            numbers = numbers.aligned(stated)
        else:
            numbers = stated.taken_over() if is_above else begin_anew(numbers, stated)
        again = {"resend_hour": 0} if is_above and (known is None or not in_step) else {}
        changed = columns_of(numbers) | again
        connection.execute(update(refusal_links).where(_links.node == node).values(changed))
        return Begun(numbers, renew_stream(connection, node))

    def _end_links_between(self, connection: Connection, node: str, retired: Collection[str]) -> None:
        links = read_links(connection, self._own, self._has_upstream)
        between = [region for region in reversed(ancestry(node)[1:]) if region in links.below]
        for region in between:
            if region not in retired:
                raise node_between(node, region, self._own)
        if between:
            connection.execute(delete(refusal_outbox).where(_outbox.node.in_(between)))
            connection.execute(delete(refusal_links).where(_links.node.in_(between)))

    def _enqueue_all(self, connection: Connection, node: str, is_above: bool) -> None:
        now = self._clock.now()
        concerned = or_(in_region(refusals.c.region, node), in_region(refusals.c.origin_node, node))
        rows = select(literal(node), refusals.c.uuid, literal(now), literal(now))
        # SQLite needs a WHERE between SELECT and ON CONFLICT.
        rows = rows.where(refusals.c.uuid != "" if is_above else concerned)
        new = insert_if_absent(connection, refusal_outbox)
        connection.execute(new.from_select(["node", "uuid", "version", "send_time"], rows))

    async def read_outbox(self, node: str, *, is_above: bool) -> list[Outgoing]:
        """Return the next reports to send to a node, the earliest changed first."""
        return await self._database.read(self._read_outbox, node, is_above)

    def _read_outbox(self, connection: Connection, node: str, is_above: bool) -> list[Outgoing]:
        query = (
            select(_outbox.uuid, _outbox.version)
            .where(_outbox.node == node, _outbox.send_time <= self._clock.now())
            .order_by(_outbox.send_time, _outbox.uuid)
            .limit(BATCH)
        )
        # The versions are read before the reports. A report that changes between the two reads is sent once more.
        waiting = [(row.uuid, row.version) for row in connection.execute(query)]
        if not waiting:
            return []
        query_reports = select(refusals).where(refusals.c.uuid.in_([uuid for uuid, _ in waiting]))
        found = {row.uuid: from_row(row) for row in connection.execute(query_reports)}
        return [
            Outgoing(
                uuid,
                version,
                refusal_to_message(found[uuid], self._own, to_above=is_above) if uuid in found else None,
            )
            for uuid, version in waiting
        ]

    async def note_sent(self, node: str, stream: int, number: int) -> None:
        """Store the number of a frame before the frame is sent on a stream. Raises the errors of `require_newest`."""
        await self._database.write(note_sent, node, stream, number)

    async def acknowledge(
        self,
        node: str,
        stream: int,
        number: int,
        sent: Sequence[Outgoing],
        deferred: Collection[str],
        retry_seconds: float,
    ) -> None:
        """Remove the reports that a node has stored from the outbox. Deferred reports are sent again later.

        Raises the errors of `require_newest`.
        """
        await self._database.write(self._acknowledge, node, stream, number, sent, frozenset(deferred), retry_seconds)

    def _acknowledge(
        self,
        connection: Connection,
        node: str,
        stream: int,
        number: int,
        sent: Sequence[Outgoing],
        deferred: Collection[str],
        retry_seconds: float,
    ) -> None:
        require_newest(connection, node, stream)
        later = self._clock.now() + round(retry_seconds * SECOND)
        # Rows are locked in one order by all transactions.
        for one in sorted(sent):
            row = (_outbox.node == node) & (_outbox.uuid == one.uuid) & (_outbox.version == one.version)
            if format_refusal(one.uuid) in deferred:
                connection.execute(update(refusal_outbox).where(row).values(send_time=later))
            else:
                connection.execute(delete(refusal_outbox).where(row))
        if number:
            connection.execute(
                update(refusal_links)
                .where(_links.node == node, _links.acknowledged_number < number)
                .values(acknowledged_number=number)
            )

    async def receive(self, node: str, stream: int, frame: RefusalExchangeFrame) -> list[str]:
        """Store the content of a frame in one transaction. Return the names of the reports that are deferred.

        Raises the errors of `require_newest`.
        """
        received = await self._database.write(self._receive, node, stream, frame)
        if received.set_aside:
            _log.warning(
                "a node sent reports that were set aside", node=format_node(node), set_aside=received.set_aside
            )
        for reason, count in received.set_aside.items():
            SET_ASIDE.labels(format_node(node), reason).inc(count)
        return received.deferred

    def _receive(self, connection: Connection, node: str, stream: int, frame: RefusalExchangeFrame) -> _Received:
        now = self._clock.now()
        writer = ReportWriter.begin(connection, self._own, self._has_upstream, now)
        if len(frame.refusals) > BATCH:
            text = english("holds more than {limit} reports", limit=BATCH)
            raise InvalidArgument.field("changes.refusals", text, "BATCH_TOO_LARGE")
        deferred: list[str] = []
        set_aside: dict[str, int] = {}
        reports: list[Refusal] = []
        # Rows are locked in one order by all transactions.
        for message in sorted(frame.refusals, key=lambda it: it.name):
            try:
                reports.append(refusal_from_message(message, self._pepper, now))
            except HutongError as error:
                set_aside[error.reason] = set_aside.get(error.reason, 0) + 1
        lock_same(connection, (key for received in reports for key in received.same_report_keys))
        require_newest(connection, node, stream)
        receive_counts(connection, frame.decision_counts, node, writer.links, now)
        for received in reports:
            standing = _take(writer, received, node)
            if standing is Standing.DEFERRED:
                deferred.append(format_refusal(received.uuid))
            elif standing is not Standing.TAKEN:
                set_aside[standing.value] = set_aside.get(standing.value, 0) + 1
        connection.execute(
            update(refusal_links)
            .where(_links.node == node, _links.received_number < frame.number)
            .values(received_number=frame.number)
        )
        return _Received(deferred, set_aside)

    @contextlib.asynccontextmanager
    async def calling(self) -> AsyncIterator[bool]:
        """Yield whether this process calls the node above during the block. Only one process of a node does."""
        async with aio_try_process_lock(self._database, "refusals", AdvisoryLock.REFUSAL_LINK) as is_held:
            yield is_held


def _take(writer: ReportWriter, received: Refusal, sender: str) -> Standing:
    """Store what the sender of a received report may state, and note which nodes are to get the report next."""
    stored = find_refusal(writer.connection, received.uuid, to_change=True)
    merged = merge(stored, received, sender, writer.links, writer.now)
    refusal = merged.refusal
    if refusal is None:
        return merged.standing
    if stored is None:
        refusal = _insert(writer, refusal)
        if refusal is None:
            # Another transaction has just stored the report. The sender sends the report again.
            return Standing.DEFERRED
    elif merged.is_changed:
        writer.update(refusal)
    if merged.is_changed:
        writer.send(refusal, leave_out=sender)
        writer.copy_to_duplicates(refusal)
    if merged.answers_sender or (refusal.duplicate_of and refusal.duplicate_of != received.duplicate_of):
        writer.send_to([sender], refusal.uuid)
    if refusal.duplicate_of:
        primary = find_refusal(writer.connection, refusal.duplicate_of)
        if primary is not None:
            keyed = primary.with_keys_of(received.same_report_keys)
            if keyed != primary:
                write_changes(writer.connection, primary, keyed)
            writer.copy_to_duplicates(primary)
    return merged.standing


def _insert(writer: ReportWriter, refusal: Refusal) -> Refusal | None:
    """Insert a new report. Return None if it is stored already.

    If there are several reports of one refusal, the earliest report counts, and the other reports become its
    duplicates.
    """
    same = find_same(writer.connection, refusal)
    if same and same[0].uuid < refusal.uuid:
        refusal = refusal.as_duplicate_of(writer.unite(same, refusal.same_report_keys).uuid)
    elif same and same[0].uuid > refusal.uuid:
        for later in same:
            refusal = refusal.with_what_is_known(later).with_keys_of(later.same_report_keys)
            writer.demote(later, refusal.uuid)
    return refusal if writer.insert(refusal) else None
