"""Corrections and recalls in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import Message
from hutong_texts import english
from sqlalchemy import Connection, and_, func, select

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import Instant
from services.domain.names import format_node, format_result
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.corrections.model import Corrected, Correction, Recall, Recalled
from services.results.corrections.recall import Progress, RecallSteps
from services.results.corrections.rules import correct
from services.results.labs.queries import get_lab
from services.results.limits import ResultsLimits
from services.results.records.horizon import require_kept, require_not_removed
from services.results.records.model import ACTIVE, FUTURE_TOLERANCE, StoredResult, is_adverse
from services.results.records.partition_maintainer import PartitionMaintainer
from services.results.records.queries import COLUMNS, KeyedReport, hold_keys
from services.results.records.revisions import advance_keys, write_next_revisions
from services.results.records.tables import report_keys, results, revision_reasons
from services.runtime.audit import record_change
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)

_results = results
_keys = report_keys


class CorrectionStore:
    """Writes corrections and recalls. Every write is durable when it returns.

    If `node` is not empty, reports that another node received can be neither corrected nor recalled.
    """

    def __init__(
        self,
        database: Database,
        writer: IdempotentWriter,
        change_log: ChangeLog,
        partitions: PartitionMaintainer,
        secrets: Sequence[bytes],
        limits: ResultsLimits,
        node: str = "",
    ) -> None:
        self._database = database
        self._writer = writer
        self._change_log = change_log
        self._partitions = partitions
        self._node = node
        self._steps = RecallSteps(change_log, secrets, limits.recall_step, node)

    async def correct(self, correction: Correction, request: IdempotentRequest[Corrected, M]) -> M:
        """Write the next revision of a report. Raises NotFound, FailedPrecondition and InvalidArgument."""
        # Times after `latest` are refused below, so they need no partition.
        latest = request.now + FUTURE_TOLERANCE
        moved = [correction.reissue_time, correction.sample_time]
        await self._partitions.prepare([time for time in moved if time is not None and time <= latest])

        def run(connection: Connection) -> Corrected:
            result = correct_result(connection, correction, request.now, self._node)
            names = [(result.report_number, result.revision)]
            keys = [result.subject_key]
            adverse = keys if is_adverse(result.outcome, result.item) else ()
            change = LoggedChange(ChangeKind.RESULTS, result.lab, names, keys, adverse_keys=adverse)
            position = self._change_log.record(connection, [change], request.now)
            record_change(connection, subject_keys=keys)
            return Corrected(result, position)

        return await self._writer.write(request, run)

    async def recall(self, recall: Recall, request: IdempotentRequest[Recalled, M], *, dry_run: bool) -> M:
        """Recall a laboratory's reports step by step, or only count them in a dry run.

        Raises:
            NotFound: the laboratory is not registered.
            FailedPrecondition: BEFORE_HORIZON, everything in the interval was removed.
        """

        def begin(connection: Connection) -> None:
            get_lab(connection, recall.lab)
            require_kept(connection, recall.end_time)

        await self._database.read_in_bulk(begin)
        progress = Progress()
        while progress.after is not None:
            if dry_run:
                progress = await self._database.read_in_bulk(self._steps.preview, recall, progress, request.now)
            else:
                progress = await self._database.write(self._steps.take_back, recall, request, progress)
        return request.encode(Recalled(progress.count, progress.position))


def count_unapproved(connection: Connection, lab: str, since: Instant) -> int:
    """Return how many revisions of a laboratory's reports callers have made without approval since an instant.

    These revisions are corrections and recalls. Revisions without a caller's name are not counted.
    """
    reasons = revision_reasons.c
    lately = (reasons.lab == lab, reasons.record_time >= since)
    by_callers = (reasons.actor.is_not(None), reasons.approver.is_(None))
    return connection.execute(select(func.count()).where(*lately, *by_callers)).scalar_one()


def find_history(connection: Connection, lab: str, report_number: str) -> list[StoredResult]:
    """Return all revisions of a report, oldest first, and lock the report until the commit.

    Raises:
        NotFound: the report is not stored.
        FailedPrecondition: BEFORE_HORIZON, its newest revision was removed.
    """
    query = select(_keys.c.subject_key, _keys.c.reference_time)
    of_report = query.where(_keys.c.lab == lab, _keys.c.report_number == report_number)
    held = hold_keys(connection, of_report, [lab])
    if not held:
        raise NotFound.resource(format_result(lab, report_number))
    (key,) = held
    # Retention may have removed the newest revision and kept an older revision with a later report time.
    require_not_removed(connection, key.reference_time)
    rows = connection.execute(
        select(*COLUMNS)
        .where(
            _results.c.subject_key == key.subject_key,
            _results.c.lab == lab,
            _results.c.report_number == report_number,
        )
        .order_by(_results.c.revision)
    )
    return [StoredResult._make(row) for row in rows]


def correct_result(connection: Connection, correction: Correction, now: Instant, node: str = "") -> StoredResult:
    """Write the next revision of a report, by the rules of `services.results.corrections.rules`.

    Raises:
        NotFound, FailedPrecondition: as `find_history`.
        FailedPrecondition: NOT_THE_ORIGIN, `node` is not empty and another node received the report.
        FailedPrecondition, InvalidArgument: as `rules.correct`.
    """
    history = find_history(connection, correction.lab, correction.report_number)
    if node and history and history[-1].source_node != node:
        source_node = format_node(history[-1].source_node)
        raise FailedPrecondition(
            "NOT_THE_ORIGIN",
            english("the report was received by {source_node}, which alone corrects it", source_node=source_node),
            metadata={"node": source_node},
        )
    next_ = correct(history, correction, now)
    require_not_removed(connection, next_.reference_time)
    stated = {
        name: getattr(next_, name) for name in ("outcome", "item", "sample_time", "report_time", "reference_time")
    }
    is_report = and_(_keys.c.lab == correction.lab, _keys.c.report_number == correction.report_number)
    newest = history[-1]
    keyed = KeyedReport(newest.lab, newest.report_number, newest.subject_key, newest.reference_time, newest.revision)
    write_next_revisions(connection, [keyed], stated | {"state": ACTIVE}, now)
    key = {"reference_time": next_.reference_time, "outcome": next_.outcome}
    advance_keys(connection, is_report, key, correction.reason, now, correction.actor)
    return next_
