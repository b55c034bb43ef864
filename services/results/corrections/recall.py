"""Recalls in steps, and their stored progress.

If the request has an id, each step stores the progress in its own transaction. A call with the same id continues from
the stored progress, whether it runs at the same time or repeats an interrupted call. Each call returns the count of the
whole request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from google.protobuf.struct_pb2 import ListValue
from sqlalchemy import Connection, and_, select, update

from services.domain.instant import Instant
from services.domain.names import format_lab
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.corrections.model import Recall, Recalled
from services.results.idempotency import requests
from services.results.records.horizon import read_horizon
from services.results.records.model import RECALLED, RECALLED_OUTCOME
from services.results.records.queries import KEYED, KeyedReport, find_newest, hold_keys
from services.results.records.revisions import advance_keys, write_next_revisions
from services.results.records.tables import report_keys, results
from services.runtime.audit import record_change
from services.runtime.consistency import BEFORE_ANY, LogPosition
from services.storage.columns import in_byte_order
from services.storage.idempotency import IdempotentRequest, answer_once

PROGRESS = "RecallResults progress"
"""The name under which the table of request ids stores the progress of a recall, in place of a method."""
_requests = requests
_results = results
_keys = report_keys


class RecalledReport(NamedTuple):
    """A recalled report, with its new revision."""

    report_number: str
    revision: int
    subject_key: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recall has come.

    Attributes:
        count: the reports recalled so far.
        after: the report number after which the next step begins; None at the end.
        position: the position of the newest step that recalled anything. Each step is logged after the commits of all
            earlier steps, so a reader at this position has all steps.
    """

    count: int = 0
    after: str | None = ""
    position: LogPosition = BEFORE_ANY


class RecallSteps:
    """The steps of recalls.

    `secrets` are the keys of the stored hashes of requests. If `node` is not empty, only reports that this node
    received are recalled. A step examines `step_size` reports and locks their keys until its commit.
    """

    def __init__(self, change_log: ChangeLog, secrets: Sequence[bytes], step_size: int, node: str = "") -> None:
        self._change_log = change_log
        self._step_size = step_size
        self._secrets = secrets
        self._node = node

    def preview(self, connection: Connection, recall: Recall, progress: Progress, now: Instant) -> Progress:
        """Count what the next step would recall."""
        return self._step(connection, recall, progress, now, dry_run=True)[1]

    def take_back(
        self, connection: Connection, recall: Recall, request: IdempotentRequest[Recalled, Any], progress: Progress
    ) -> Progress:
        """Recall the reports of the next step.

        The step begins at the request's stored progress if the request has an id, otherwise at `progress`.

        Raises:
            InvalidArgument: REQUEST_ID_REUSED, the id was used before with other content or by another caller.
        """
        request_id: str = request.request.request_id  # type: ignore[attr-defined]
        if request_id:
            progress = _lock_progress(connection, request, request_id, self._secrets)
        if progress.after is None:
            return progress
        before = progress.position
        found, progress = self._step(connection, recall, progress, request.now, dry_run=False)
        names = [(report.report_number, report.revision) for report in found]
        change = LoggedChange(ChangeKind.RESULTS, recall.lab, names, [report.subject_key for report in found])
        # A recall that finds nothing may repeat an earlier recall. It logs a barrier, so that the returned position
        # comes after the commits of the earlier recall.
        barrier = progress.after is None and before == BEFORE_ANY
        position = self._change_log.record(connection, [change], request.now, barrier=barrier)
        progress = replace(progress, position=before if position == BEFORE_ANY else position)
        if request_id:
            _store_progress(connection, request_id, progress)
        if found:
            record_change(connection, format_lab(recall.lab), count=len(found))
        return progress

    def _step(
        self, connection: Connection, recall: Recall, progress: Progress, now: Instant, *, dry_run: bool
    ) -> tuple[list[RecalledReport], Progress]:
        assert progress.after is not None
        found, after = recall_step(
            connection, recall, progress.after, now, dry_run=dry_run, step_size=self._step_size, node=self._node
        )
        return found, Progress(progress.count + len(found), after)


def recall_step(
    connection: Connection, recall: Recall, after: str, now: Instant, *, dry_run: bool, step_size: int, node: str = ""
) -> tuple[list[RecalledReport], str | None]:
    """Recall the matching reports among the next `step_size` after the report number `after`.

    If `node` is not empty, only reports that this node received are recalled. Returns the recalled reports, or in a dry
    run those that would be recalled. Also returns the report number after which to continue; None at the end.
    """
    step = (_keys.c.lab == recall.lab, _keys.c.report_number > after)
    last = connection.execute(
        select(_keys.c.report_number).where(*step).order_by(_keys.c.report_number).offset(step_size - 1).limit(1)
    ).scalar()
    query = (
        select(*KEYED)
        .where(
            *step,
            _keys.c.reference_time >= recall.start_time,
            _keys.c.reference_time < recall.end_time,
            _keys.c.outcome != RECALLED_OUTCOME,
        )
        # Keys are locked in the order in which uploads claim them, so that two transactions never deadlock.
        .order_by(*in_byte_order(connection, _keys.c.report_number))
    )
    if last is not None:
        query = query.where(_keys.c.report_number <= last)
    if recall.outcomes:
        query = query.where(_keys.c.outcome.in_(recall.outcomes))
    # The keys are locked before the results are read, so that the read sees what concurrent transactions have
    # committed.
    rows = connection.execute(query).all() if dry_run else hold_keys(connection, query, [recall.lab])
    held = list(map(KeyedReport._make, rows))
    found = _find_recalled(connection, recall, held, node)
    if found and not dry_run:
        are_found = and_(_keys.c.lab == recall.lab, _keys.c.report_number.in_([one.report_number for one in found]))
        write_next_revisions(connection, found, {"state": RECALLED}, now)
        by = (recall.actor, recall.approver)
        advance_keys(connection, are_found, {"outcome": RECALLED_OUTCOME}, recall.reason, now, *by)
    return [RecalledReport(one.report_number, one.revision + 1, one.subject_key) for one in found], last


def _find_recalled(
    connection: Connection, recall: Recall, held: Sequence[KeyedReport], node: str
) -> Sequence[KeyedReport]:
    """Return those reports that match the recall's items and `node` and are not before the horizon.

    Reports before the horizon stay as they are, because a purge has counted their revisions and the count must not
    change. A purge sets the horizon only after all transactions that have locked keys have ended.
    """
    horizon = read_horizon(connection) if held else None
    kept = [one for one in held if horizon is None or one.reference_time >= horizon]
    if not recall.items and not node:
        return kept
    # The rows of report keys have neither item nor source node. The newest revision of a report has both.
    columns = [_results.c.report_number, _results.c.item, _results.c.source_node]
    newest = {row.report_number: row for row in find_newest(connection, kept, columns)}
    found = []
    for one in kept:
        row = newest.get(one.report_number)
        if recall.items and (row is None or row.item not in recall.items):
            continue
        # Only the source node of a report may recall it. A copy of the report here is recalled when the change of the
        # source node arrives.
        if not node or row is None or row.source_node == node:
            found.append(one)
    return found


def _lock_progress(
    connection: Connection, request: IdempotentRequest[Recalled, Any], request_id: str, secrets: Sequence[bytes]
) -> Progress:
    """Return the request's progress and lock it until the commit. Calls with the same id wait for the lock."""
    answer_once(
        connection,
        _requests,
        PROGRESS,
        request_id,
        request.request,
        request.now,
        lambda: _encode(Progress()),
        response_type=ListValue,
        secrets=secrets,
    )
    held = select(_requests.c.response).where(*_is_request(request_id)).with_for_update()
    return decode_progress(connection.execute(held).scalar_one())


def _store_progress(connection: Connection, request_id: str, progress: Progress) -> None:
    stated = update(_requests).where(*_is_request(request_id)).values(response=_encode(progress).SerializeToString())
    connection.execute(stated)


def _is_request(request_id: str) -> tuple[Any, Any]:
    return _requests.c.method == PROGRESS, _requests.c.request_id == request_id


def decode_progress(stored: bytes) -> Progress:
    """Return the stored progress. It is empty before the first step of the recall."""
    if not stored:
        return Progress()
    count, after, *position = ListValue.FromString(stored)
    # Older releases stored a progress without a position.
    life, writer, sequence = position or BEFORE_ANY
    reached = LogPosition(str(life), int(cast(float, writer)), int(cast(float, sequence)))
    return Progress(int(cast(float, count)), cast("str | None", after), reached)


def _encode(progress: Progress) -> ListValue:
    encoded = ListValue()
    encoded.extend([progress.count, progress.after, *progress.position])
    return encoded
