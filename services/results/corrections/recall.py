"""Recalls from end to end: their steps, and how far they have come.

With a request id the progress is kept in the store, in the transaction of each step: calls of the same request, at once
or after a break, go on with it together, and each is told what the request took back in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from google.protobuf.struct_pb2 import ListValue
from sqlalchemy import Connection, and_, func, select, update

from services.domain.instant import Instant
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.corrections.model import Recall
from services.results.idempotency import requests
from services.results.records.horizon import HORIZON
from services.results.records.model import RECALLED, RECALLED_OUTCOME
from services.results.records.queries import IS_NEWEST
from services.results.records.revisions import advance_keys, write_next_revisions
from services.results.records.tables import report_keys, results
from services.storage.collation import in_byte_order
from services.storage.idempotency import IdempotentRequest, answer_once

STEP = 2_000
"""Reports that one step of a recall looks at: some tens of milliseconds, in which only their keys are held."""

_METHOD = "RecallResults progress"
_memory = requests
_results = results
_keys = report_keys


class RecalledReport(NamedTuple):
    """A report that was taken back, with its new revision."""

    report_number: str
    revision: int
    subject_key: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """Reports taken back so far, and the report number to go on after; None at the end."""

    count: int = 0
    after: str | None = ""


class RecallSteps:
    """The steps of recalls. `secret` keys the stored hash of requests; `node` narrows to reports that it received."""

    def __init__(self, change_log: ChangeLog, secret: bytes, node: str = "") -> None:
        self._change_log = change_log
        self._secret = secret
        self._node = node

    def pretend(self, connection: Connection, recall: Recall, progress: Progress, now: Instant) -> Progress:
        """Count what the next step would take back."""
        return self._step(connection, recall, progress, now, pretend=True)[1]

    def take(
        self, connection: Connection, recall: Recall, once: IdempotentRequest[int, Any], progress: Progress
    ) -> Progress:
        """Take the next step: from where the request stands when it has an id, else from where the caller does.

        Raises:
            InvalidArgument: REQUEST_ID_REUSED, the id came before with other content.
        """
        request_id: str = once.request.request_id  # type: ignore[attr-defined]
        if request_id:
            progress = _hold_progress(connection, once, request_id, self._secret)
        if progress.after is None:
            return progress
        found, progress = self._step(connection, recall, progress, once.now, pretend=False)
        if request_id:
            _keep_progress(connection, request_id, progress)
        names = [(report.report_number, report.revision) for report in found]
        change = LoggedChange(ChangeKind.RESULTS, recall.lab, names, [report.subject_key for report in found])
        self._change_log.record(connection, [change], once.now)
        return progress

    def _step(
        self, connection: Connection, recall: Recall, progress: Progress, now: Instant, *, pretend: bool
    ) -> tuple[list[RecalledReport], Progress]:
        assert progress.after is not None
        found, after = recall_step(connection, recall, progress.after, now, pretend=pretend, node=self._node)
        return found, Progress(progress.count + len(found), after)


def recall_step(
    connection: Connection, recall: Recall, after: str, now: Instant, *, pretend: bool, node: str = ""
) -> tuple[list[RecalledReport], str | None]:
    """Take back what the recall names among the next STEP reports after `after`, of the named node's if one is.

    Returns what was taken back (or would be), and the report number to go on after; None at the end.
    """
    step = (_keys.c.lab == recall.lab, _keys.c.report_number > after)
    last = connection.execute(
        select(_keys.c.report_number).where(*step).order_by(_keys.c.report_number).offset(STEP - 1).limit(1)
    ).scalar()
    query = (
        select(_keys.c.report_number, _keys.c.revision, _keys.c.subject_key)
        .where(
            *step,
            _keys.c.reference_time >= recall.start_time,
            _keys.c.reference_time < recall.end_time,
            _keys.c.outcome != RECALLED_OUTCOME,
            # What retention removes is not there to be taken back, and what it counts must not be changed any more.
            _keys.c.reference_time >= func.coalesce(HORIZON.scalar_subquery(), _keys.c.reference_time),
        )
        # As claims are made: two that hold the same reports wait for one another and never in a circle.
        .order_by(*in_byte_order(connection, _keys.c.report_number))
    )
    if last is not None:
        query = query.where(_keys.c.report_number <= last)
    if recall.outcomes:
        query = query.where(_keys.c.outcome.in_(recall.outcomes))
    if node:
        # What another node received that one takes back, and the copies here are told.
        query = query.where(~select(_results.c.lab).where(IS_NEWEST, _results.c.source_node != node).exists())
    # Held before their results are looked at: what another transaction revises meanwhile is seen as that one left it.
    found = connection.execute(query if pretend else query.with_for_update()).all()
    if found and not pretend:
        their_keys = and_(_keys.c.lab == recall.lab, _keys.c.report_number.in_([row.report_number for row in found]))
        # Only the months concerned are opened.
        interval = (_results.c.reference_time >= recall.start_time, _results.c.reference_time < recall.end_time)
        write_next_revisions(connection, and_(their_keys, *interval), {"state": RECALLED}, now)
        advance_keys(connection, their_keys, {"outcome": RECALLED_OUTCOME}, recall.reason, now)
    return [RecalledReport(row.report_number, row.revision + 1, row.subject_key) for row in found], last


def _hold_progress(
    connection: Connection, once: IdempotentRequest[int, Any], request_id: str, secret: bytes
) -> Progress:
    """How far the request has come, held until the commit: calls of it take turns."""
    answer_once(
        connection,
        _memory,
        _METHOD,
        request_id,
        once.request,
        once.now,
        lambda: _encode(Progress()),
        response_type=ListValue,
        secret=secret,
    )
    held = select(_memory.c.response).where(*_of(request_id)).with_for_update()
    count, after = ListValue.FromString(connection.execute(held).scalar_one())
    return Progress(int(cast(float, count)), cast("str | None", after))


def _keep_progress(connection: Connection, request_id: str, progress: Progress) -> None:
    stated = update(_memory).where(*_of(request_id)).values(response=_encode(progress).SerializeToString())
    connection.execute(stated)


def _of(request_id: str) -> tuple[Any, Any]:
    return _memory.c.method == _METHOD, _memory.c.request_id == request_id


def _encode(progress: Progress) -> ListValue:
    encoded = ListValue()
    encoded.extend([progress.count, progress.after])
    return encoded
