"""Look-ups and listings in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from services.domain.instant import SECOND, Instant, Span
from services.domain.names import DEFAULT_ITEM
from services.results.changelog.lives import find_lost
from services.results.documents.store import find_all_keys
from services.results.labs.cache import LabCache
from services.results.labs.queries import find_by_names
from services.results.limits import ResultsLimits
from services.results.lookup.listing_queries import list_by_lab, list_by_subjects
from services.results.lookup.model import LabPosition, Listing, LocalMatches, NamedReport, ResultQuery, SubjectPosition
from services.results.lookup.subjects import find_subjects
from services.results.missing_reports.answers import find_answers
from services.results.records.horizon import read_horizon, require_kept
from services.results.records.model import ReportName, StoredResult
from services.results.records.queries import find_reports, get_result
from services.results.replicas.replicas import ReadReplicas
from services.results.replicas.standby import NotReplayed
from services.results.timeliness.arrivals import with_national_receive_times
from services.runtime.clock import Clock
from services.runtime.consistency import LogPosition
from services.storage.engine import Database

HORIZON_KEPT_FOR: Span = SECOND
"""How long the horizon is cached. Every look-up needs it, and only a purge changes it."""


class Seen:
    """What was read from a database at most a second ago: laboratories and the horizon of retention."""

    def __init__(self, labs: LabCache) -> None:
        self.labs = labs
        self._last_horizon: tuple[Instant, Instant | None] | None = None

    def horizon(self, connection: Connection, now: Instant, *, is_exact: bool) -> Instant | None:
        """Return the horizon of retention. Unless `is_exact`, it may be HORIZON_KEPT_FOR old."""
        last = self._last_horizon
        if is_exact or last is None or not 0 <= now - last[0] < HORIZON_KEPT_FOR:
            self._last_horizon = last = (now, read_horizon(connection))
        return last[1]


class LookupStore:
    """Reads results.

    `joined` says that the node replicates to the nation. Results then have a national receive time. `replicas` may
    answer those reads that may lag behind.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        labs: LabCache,
        limits: ResultsLimits,
        *,
        joined: bool = False,
        replicas: ReadReplicas | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._labs = labs
        self._limits = limits
        self._joined = joined
        self._replicas = replicas
        self._seen = Seen(labs)
        self._seen_on_replicas = Seen(LabCache())

    async def get_result(self, lab: str, report_number: str, revision: int | None) -> Listing:
        """Return one result: the named revision, or the newest revision if None.

        Raises the errors of `queries.get_result`.
        """

        def work(connection: Connection) -> Listing:
            result = get_result(connection, lab, report_number, revision)
            return self._list(connection, [result], self._clock.now())

        return await self._database.read(work)

    async def find_subjects(
        self,
        subject_keys: Sequence[bytes],
        reports: Sequence[ReportName],
        now: Instant,
        items: Sequence[str] = (DEFAULT_ITEM,),
        by_name: Sequence[NamedReport] = (),
        other_keys: Mapping[bytes, bytes | None] | None = None,
        *,
        may_lag_behind: Collection[LogPosition] | None = None,
    ) -> LocalMatches:
        """Find the results of subjects, given any of their documents, and the named reports.

        Results of subjects are found only if their item is among `items`. Named reports are found whatever their item
        is. `reports` gives the code of each report's laboratory, `by_name` gives the laboratory's name instead.
        `other_keys` is as in `subjects.find_subjects`. With `may_lag_behind`, a read replica may answer if it has these
        commits of this node's log.
        """

        def work(connection: Connection, seen: Seen, *, is_replica: bool = False) -> LocalMatches:
            subjects, by_subject = find_subjects(connection, subject_keys, items, other_keys)
            if self._joined:
                stamped = iter(
                    with_national_receive_times(connection, [result for one in by_subject for result in one])
                )
                by_subject = [[next(stamped) for _ in one] for one in by_subject]
            labs_by_name = find_by_names(connection, {name for name, _ in by_name}) if by_name else {}
            wanted = {*reports, *((lab, number) for name, number in by_name for lab in labs_by_name.get(name, ()))}
            by_report = find_reports(connection, sorted(wanted)) if wanted else {}
            missing = wanted - by_report.keys() if wanted else ()
            if missing and is_replica:
                # The primary may have the report. A laboratory must not be asked for a report only because a replica
                # lacks it.
                raise NotReplayed("claimed report")
            answers = find_answers(connection, sorted(missing)) if missing else {}
            named = {result.lab for results in by_subject for result in results} | {lab for lab, _ in wanted}
            seen.labs.refresh(connection, named, now)
            horizon = seen.horizon(connection, now, is_exact=len(by_report) < len(wanted))
            return LocalMatches(
                by_subject,
                by_report,
                subjects,
                seen.labs.standing_at,
                seen.labs.region_of,
                horizon,
                labs_by_name,
                seen.labs.signing_keys_of,
                answers,
            )

        if self._replicas is not None and may_lag_behind is not None:
            # What was cached from the replicas may be older than the commits that the caller names.
            seen = Seen(LabCache()) if may_lag_behind else self._seen_on_replicas
            found = await self._replicas.read(partial(work, seen=seen, is_replica=True), may_lag_behind)
            if found is not None:
                matches, age = found
                return replace(matches, age=age)
        return await self._database.read(work, self._seen)

    async def find_lost(self, positions: Collection[LogPosition]) -> set[LogPosition]:
        """Return the positions of this node's log whose commits a restore has lost.

        A commit that a replica has is not lost. Only the primary can say that a commit is lost.
        """
        if self._replicas is not None:
            found = await self._replicas.read(partial(find_lost, positions=positions))
            positions = positions if found is None else found[0]
        return await self._database.read(find_lost, positions) if positions else set()

    async def list_by_subject(
        self, subject_keys: Sequence[bytes], query: ResultQuery, after: SubjectPosition | None, limit: int, now: Instant
    ) -> Listing:
        """Return results of a subject, newest report first, given the keys of any one of its documents."""

        def work(connection: Connection) -> Listing:
            horizon = require_kept(connection, query.end_time)
            keys = find_all_keys(connection, subject_keys)
            return self._list(connection, list_by_subjects(connection, keys, query, after, limit), now, horizon)

        return await self._database.read_in_bulk(work)

    async def list_by_lab(self, lab: str, query: ResultQuery, after: LabPosition, limit: int, now: Instant) -> Listing:
        """Return results of a laboratory, as `listing_queries.list_by_lab`."""

        def work(connection: Connection) -> Listing:
            horizon = require_kept(connection, query.end_time)
            found, next_position = list_by_lab(connection, lab, query, after, limit, self._limits.listing_scan)
            return replace(self._list(connection, found, now, horizon), next_position=next_position)

        return await self._database.read_in_bulk(work)

    def _list(
        self, connection: Connection, results: Sequence[StoredResult], now: Instant, horizon: Instant | None = None
    ) -> Listing:
        self._labs.refresh(connection, {result.lab for result in results}, now)
        stamped = with_national_receive_times(connection, results) if self._joined else results
        return Listing(stamped, self._labs.standing_at, horizon)
