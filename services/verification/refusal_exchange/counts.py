"""Exchanges the counts of decisions. Counts only travel upwards, from the node of the decisions to the nation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
from hutong.exchange.v1.replicated_decision_count_pb2 import ReplicatedDecisionCount
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.decision_counts_pb2 import DecisionCounts
from hutong_texts import english
from sqlalchemy import Connection, select, update

from services.domain.errors import HutongError, InvalidArgument, Violation
from services.domain.fields import check_region, check_time
from services.domain.instant import DAY, HOUR, Instant, from_timestamp, to_timestamp
from services.domain.names import format_node, parse_node
from services.domain.region import is_region, within
from services.runtime.server.validation import check
from services.storage.engine import Database
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.decision_counts.outbox import (
    HourCount,
    mark_sent,
    merge_counts,
    read_unsent,
    reopen_hour,
)
from services.verification.decision_counts.store import OUTCOME_COLUMNS
from services.verification.refusal_exchange.streams import require_newest
from services.verification.refusals.routing import Links
from services.verification.refusals.tables import refusal_links

COUNTS_BATCH = 500
"""The most counts of a frame. They are about 50 kB."""

_links = refusal_links.c
_log = structlog.get_logger(__name__)


class DecisionCountOutbox:
    """The counts that the node above does not have yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> list[HourCount]:
        """Return the next counts to send to the node above, the earliest hours first."""
        return await self._database.read(read_unsent, COUNTS_BATCH)

    async def reopen(self, node: str) -> bool:
        """Make some sent counts unsent, if counts are to be sent to the node above again.

        Return whether more are to follow.
        """
        if await self._database.read(_resend_hour, node) is None:
            return False
        return await self._database.write(_reopen, node)

    async def acknowledge(self, node: str, stream: int, number: int, sent: Sequence[HourCount]) -> None:
        """Note that the node above has stored a frame with counts. Raises the errors of `require_newest`."""
        await self._database.write(_acknowledge, node, stream, number, sent)


def count_to_message(count: HourCount) -> ReplicatedDecisionCount:
    """Return the message of a count."""
    return ReplicatedDecisionCount(
        node=format_node(count.node),
        hour_start_time=to_timestamp(count.hour * HOUR),
        region=count.region,
        purpose=count.purpose,  # type: ignore[arg-type]
        counts=DecisionCounts(**count.counts._asdict()),
    )


def receive_counts(
    connection: Connection, messages: Sequence[ReplicatedDecisionCount], sender: str, links: Links, now: Instant
) -> None:
    """Store the counts of a frame. What the sender may not state is set aside and logged.

    Raises:
        InvalidArgument: BATCH_TOO_LARGE.
    """
    if len(messages) > COUNTS_BATCH:
        text = english("holds more than {limit} counts", limit=COUNTS_BATCH)
        raise InvalidArgument.field("changes.decision_counts", text, "BATCH_TOO_LARGE")
    received = list(_permitted(messages, sender, links, now))
    if len(received) < len(messages):
        _log.warning(
            "a node sent counts that were set aside", node=format_node(sender), count=len(messages) - len(received)
        )
    merge_counts(connection, received)


def _permitted(
    messages: Iterable[ReplicatedDecisionCount], sender: str, links: Links, now: Instant
) -> Iterable[HourCount]:
    for message in messages:
        try:
            count = count_from_message(message, now)
        except HutongError:
            continue
        if sender != links.above and within(count.node, sender) and within(count.region, sender):
            yield count


def count_from_message(message: ReplicatedDecisionCount, now: Instant) -> HourCount:
    """Return the count of a message.

    Raises:
        InvalidArgument: no node can have sent the message.
    """
    check(message)
    found: list[Violation] = []
    check_region(message.region, "region", found)
    check_time(message.hour_start_time, "hour_start_time", found)
    if found:
        raise InvalidArgument.of(found)
    if message.purpose not in Purpose.values():
        raise InvalidArgument.field("purpose", english("is not known here"))
    node, start_time = parse_node(message.node, "node"), from_timestamp(message.hour_start_time)
    if not is_region(node):
        raise InvalidArgument.field("node", english("is no node of a region"))
    if start_time % HOUR or not 0 <= start_time < now + DAY:
        raise InvalidArgument.field("hour_start_time", english("is no hour of the past"))
    counts = OutcomeCounts(*(getattr(message.counts, name) for name in OUTCOME_COLUMNS))
    return HourCount(start_time // HOUR, message.region, message.purpose, node, counts)


def _resend_hour(connection: Connection, node: str) -> int | None:
    return connection.execute(select(_links.resend_hour).where(_links.node == node)).scalar()


def _reopen(connection: Connection, node: str) -> bool:
    hour = _resend_hour(connection, node)
    next_hour = None if hour is None else reopen_hour(connection, hour)
    connection.execute(update(refusal_links).where(_links.node == node).values(resend_hour=next_hour))
    return next_hour is not None


def _acknowledge(connection: Connection, node: str, stream: int, number: int, sent: Sequence[HourCount]) -> None:
    require_newest(connection, node, stream)
    mark_sent(connection, sent)
    connection.execute(
        update(refusal_links)
        .where(_links.node == node, _links.acknowledged_number < number)
        .values(acknowledged_number=number)
    )
