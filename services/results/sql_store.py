"""The store in SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.domain.errors import Unavailable
from services.domain.instant import Instant, Span
from services.results import tables
from services.results.changelog import log
from services.results.labs.store import store
from services.results.documents import store
from services.results.records import partitions
from services.results.records import queries
from services.results.timeliness.delays import delays
from services.results.records.bulk import bulk_for
from services.results.changelog.log import ChangeKind, Cursor
from services.results.upload.claims import find_foreign
from services.results.missing_reports.store import take_home
from services.results.exchange.upstream.acknowledgements import with_nationwide_times
from services.results.exchange.downstream.notices import ChangedReport, give_notices
from services.results.upload.commit import commit_batch
from services.results.records.horizon import read_horizon, require_kept
from services.results.upload.known_batches import KnownBatch, find_known
from services.results.records.model import (
    Acknowledgement,
    Correction,
    DocumentLink,
    JudgedBatch,
    Lab,
    LinkedDocument,
    Recall,
    ReportKey,
    ResultQuery,
    StandingChange,
    StoredResult,
    Upload,
    UploadPosition,
)
from services.results.records.partitions import Month, months_ahead, months_of
from services.results.watch.batches import ChangeBatch, read_batch
from services.results.lookup.subjects import find_persons
from services.results.records.queries import LabPosition, Position, ReportName
from services.results.corrections.recall import Progress, pretend_step, take_step
from services.results.records.revisions import correct_result
from services.results.store import Findings, Listing, Once
from services.results.upload.validation import FUTURE_TOLERANCE
from services.runtime.clock import Clock
from services.storage.engine import Database
from services.storage.idempotency import answer_once

if TYPE_CHECKING:
    pass

E = TypeVar("E")
M = TypeVar("M", bound=Message)


class SqlStore:
    """A store in SQLite or PostgreSQL.

    `secret` keys the memory of requests that hold an identity; of reports that were received by others than `node`
    none is revised; `joined` says that the node replicates to a nation, and that results tell since when it has them.
    """

    def __init__(
        self, database: Database, clock: Clock, secret: bytes, *, node: str = "", joined: bool = False
    ) -> None:
        self._node = node
        self._joined = joined
        self._database = database
        self._clock = clock
        self._secret = secret
        self._labs = store.LabMemory()
        self._months: set[Month] = set()

    async def create_lab(self, lab: Lab, once: Once[Lab, M]) -> M:
        """Register a laboratory; the stored one when the same is there. AlreadyExists when another is."""

        def run(connection: Connection) -> Lab:
            registered = store.create_lab(connection, lab)
            take_home(connection, lab.uscc)
            log.append_entry(connection, "", [(lab.uscc, 0)], once.now, ChangeKind.LABS)
            return registered

        response = await self._write_once(once, run)
        self._labs.forget(lab.uscc)
        return response

    async def set_standing(self, uscc: str, change: StandingChange, once: Once[Lab, M]) -> M:
        """Add to a laboratory's history. NotFound."""

        def run(connection: Connection) -> Lab:
            changed = store.add_standing(connection, uscc, change)
            log.append_entry(connection, "", [(uscc, 0)], once.now, ChangeKind.LABS)
            return changed

        response = await self._write_once(once, run)
        self._labs.forget(uscc)
        return response

    async def get_lab(self, uscc: str) -> Lab:
        """One laboratory with its history. NotFound."""
        return await self._database.read(store.get_lab, uscc)

    async def list_labs(self, region: str, after: str, limit: int) -> list[Lab]:
        """Laboratories of a region by code, from the one after `after` on."""
        return await self._database.read(store.list_labs, region, after, limit)

    async def commit_batch(self, position: UploadPosition, batch: JudgedBatch, now: Instant) -> Acknowledgement:
        """Store what is good of a batch and move the upload on, all in one.

        OutOfRange for a gap, InvalidArgument for an id that was used for other tubes, RemovedMeanwhile.
        """
        await self.make_months([row.file_time for row in batch.results])
        return await self._database.write(commit_batch, position, batch, now)

    async def find_known_batch(self, lab: str, digest: bytes) -> KnownBatch | None:
        """A batch that is known by its hash; None for one that is not."""
        return await self._database.read(find_known, lab, digest)

    async def find_report_keys(self, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of a laboratory's reports by their numbers."""
        return await self._database.read(
            lambda connection: bulk_for(connection).find_keys(connection, lab, report_numbers)
        )

    async def find_foreign(self, lab: str, report_numbers: Sequence[str]) -> dict[str, str]:
        """Those of a laboratory's reports that are stored and that another node received first, with its region."""
        if not self._node:
            return {}
        return await self._database.read(find_foreign, lab, report_numbers, self._node)

    async def get_horizon(self) -> Instant | None:
        """The instant before which retention has removed everything; None while it removed nothing."""
        return await self._database.read(read_horizon)

    async def get_upload(self, lab: str, upload_id: str) -> Upload:
        """How far an upload has come. NotFound when nothing of it was committed."""
        return await self._database.read(queries.get_upload, lab, upload_id)

    async def get_result(self, lab: str, report_number: str, revision: int | None) -> Listing:
        """One result, its newest revision unless one is named. NotFound, FailedPrecondition when it was removed."""

        def work(connection: Connection) -> Listing:
            result = queries.get_result(connection, lab, report_number, revision)
            return self._list(connection, [result], self._clock.now())

        return await self._database.read(work)

    async def find_persons(
        self, subject_keys: Sequence[bytes], reports: Sequence[ReportName], now: Instant
    ) -> Findings:
        """The results of persons, by any of their documents, and the named reports."""

        def work(connection: Connection) -> Findings:
            persons, by_person = find_persons(connection, subject_keys)
            if self._joined:
                stamped = iter(with_nationwide_times(connection, [result for one in by_person for result in one]))
                by_person = [[next(stamped) for _ in one] for one in by_person]
            by_report = queries.find_reports(connection, reports) if reports else {}
            named = {result.lab for results in by_person for result in results} | {lab for lab, _ in reports}
            self._labs.refresh(connection, named, now)
            horizon = read_horizon(connection) if len(by_report) < len(reports) else None
            return Findings(by_person, by_report, persons, self._labs.standing_at, self._labs.region_of, horizon)

        return await self._database.read(work)

    async def list_by_person(
        self, subject_key: bytes, query: ResultQuery, after: Position | None, limit: int, now: Instant
    ) -> Listing:
        """Results of a person by any of their documents, newest report first."""

        def work(connection: Connection) -> Listing:
            horizon = require_kept(connection, query.end_time)
            keys = store.find_linked(connection, [subject_key]).get(subject_key, [subject_key])
            return self._list(connection, queries.list_by_persons(connection, keys, query, after, limit), now, horizon)

        return await self._database.read(work)

    async def list_by_lab(self, lab: str, query: ResultQuery, after: LabPosition, limit: int, now: Instant) -> Listing:
        """Results of a laboratory by report number; fewer than `limit` when it has looked at many for them."""

        def work(connection: Connection) -> Listing:
            horizon = require_kept(connection, query.end_time)
            found, next_position = queries.list_by_lab(connection, lab, query, after, limit)
            return replace(self._list(connection, found, now, horizon), next_position=next_position)

        return await self._database.read(work)

    async def correct(self, correction: Correction, once: Once[StoredResult, M]) -> M:
        """Write the next revision of a report. NotFound, FailedPrecondition, InvalidArgument."""
        # No month of a time that will be refused.
        latest = once.now + FUTURE_TOLERANCE
        moved = [correction.new_report_time, correction.sample_time]
        await self.make_months([time for time in moved if time is not None and time <= latest])

        def run(connection: Connection) -> StoredResult:
            result = correct_result(connection, correction, once.now, self._node)
            give_notices(connection, [ChangedReport.of(result)], once.now)
            log.append_entry(connection, result.lab, [(result.report_number, result.revision)], once.now)
            return result

        return await self._write_once(once, run)

    async def recall(self, recall: Recall, once: Once[int, M], *, pretend: bool) -> M:
        """Take back a laboratory's reports, step by step, or only count them.

        NotFound when the laboratory is not registered, FailedPrecondition when all of the interval was removed.
        """

        def begin(connection: Connection) -> None:
            store.get_lab(connection, recall.lab)
            require_kept(connection, recall.end_time)

        await self._database.read(begin)
        progress = Progress()
        while progress.after is not None:
            if pretend:
                progress = await self._database.read(pretend_step, recall, progress, once.now, self._node)
            else:
                progress = await self._database.write(take_step, recall, once, progress, self._secret, self._node)
        return once.encode(progress.count)

    async def link(self, link: DocumentLink, once: Once[DocumentLink, M]) -> M:
        """Tie two documents together."""

        def run(connection: Connection) -> DocumentLink:
            tied = store.link_documents(connection, link)
            give_notices(connection, (), once.now, links=[tied])
            log.append_entry(connection, "", [(tied.link_id, 0)], once.now, ChangeKind.LINKS)
            return tied

        return await self._write_once(once, run)

    async def unlink(
        self, document: LinkedDocument, linked: LinkedDocument, reason: str, once: Once[DocumentLink, M]
    ) -> M:
        """Untie two documents. NotFound when they are not tied."""

        def run(connection: Connection) -> DocumentLink:
            untied = store.unlink_documents(connection, document, linked, reason, once.now)
            give_notices(connection, (), once.now, links=[untied])
            log.append_entry(connection, "", [(untied.link_id, 0)], once.now, ChangeKind.LINKS)
            return untied

        return await self._write_once(once, run)

    async def list_links(self, subject_key: bytes, before: tuple[int, str] | None, limit: int) -> list[DocumentLink]:
        """A document's links, past ones too, newest first."""
        return await self._database.read(store.list_links, subject_key, before, limit)

    async def oldest_cursor(self) -> Cursor:
        """The cursor from which on everything is kept."""
        return await self._database.read(log.oldest_cursor)

    async def newest_cursor(self) -> Cursor:
        """The cursor after everything that is committed."""
        return await self._database.read(log.newest_cursor)

    async def read_changes(self, cursor: Cursor, now: Instant, limit: int) -> ChangeBatch:
        """What was committed after a cursor, up to `limit` results: nothing before what was committed before it began.

        OutOfRange when the cursor is too old or not of this log.
        """
        return await self._database.read(read_batch, self._labs, cursor, now, limit)

    async def summarize_timeliness(
        self, lab: str, region: str, start: Instant, end: Instant, late: Span
    ) -> delays.Summary:
        """One laboratory's timeliness, or that of each of a region and under "" of all of them. NotFound."""

        def work(connection: Connection) -> delays.Summary:
            horizon = require_kept(connection, end)
            usccs = [store.get_lab(connection, lab).uscc] if lab else store.codes_within(connection, region)
            found = delays.summarize(connection, usccs, start, end, late)
            return delays.Summary(found, horizon if horizon is not None and start < horizon else None)

        return await self._database.read(work)

    async def make_months_ahead(self) -> None:
        """Have the partitions ready for what is reported now and soon."""
        await self._make_months(months_ahead(self._clock.now()))

    async def make_months(self, file_times: Sequence[Instant]) -> None:
        """Have the partitions ready for what is filed at these times.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, somebody else changes the table and does not come to an end.
        """
        await self._make_months(months_of(file_times))

    async def _make_months(self, months: set[Month]) -> None:
        unknown = months - self._months
        if not unknown:
            return
        if not self._database.is_sqlite:
            missing = await self._database.read(partitions.find_missing, unknown)
            if missing:
                await self._make_missing(missing)
        self._months |= unknown

    async def _make_missing(self, months: set[Month]) -> None:
        for _ in range(partitions.TRIES):
            if await self._database.write(partitions.make_partitions, months):
                return
            await asyncio.sleep(partitions.RETRY_SECONDS)
        text = "the month of these results cannot be opened now; try again"
        raise Unavailable("DATABASE_UNAVAILABLE", text, metadata={"service": "results"})

    async def _write_once(self, once: Once[E, M], run: Callable[[Connection], E]) -> M:
        def work(connection: Connection) -> M:
            return answer_once(
                connection,
                tables.requests,
                type(once.request).__name__,
                once.request.request_id,  # type: ignore[attr-defined]
                once.request,
                once.now,
                lambda: once.encode(run(connection)),
                response_type=once.response_type,
                secret=self._secret,
            )

        return await self._database.write(work)

    def _list(
        self, connection: Connection, results: Sequence[StoredResult], now: Instant, horizon: Instant | None = None
    ) -> Listing:
        self._labs.refresh(connection, {result.lab for result in results}, now)
        told = with_nationwide_times(connection, results) if self._joined else results
        return Listing(told, self._labs.standing_at, horizon)
