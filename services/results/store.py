"""Where results live. `Store` is what the service needs of it; `SqlStore` is SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    CreateLabResponse,
    SetLabStandingRequest,
    SetLabStandingResponse,
)
from sqlalchemy import Connection, and_, select, tuple_

from services.domain.errors import NotFound, Unavailable
from services.domain.instant import Instant
from services.domain.names import format_result, format_upload
from services.results import labs, tables
from services.results.bulk import bulk_for
from services.results.filing import RacedRevision, UploadPosition, commit_batch
from services.results.lookup import MAX_PER_PERSON
from services.results.model import (
    STANDING_UNKNOWN,
    SUPERSEDED,
    Acknowledgement,
    JudgedBatch,
    Lab,
    ReportKey,
    StandingChange,
    StoredResult,
    Upload,
)
from services.results.partitions import Month, make_partitions, months_between
from services.storage.engine import Database
from services.storage.requests import answer_once

if TYPE_CHECKING:
    from services.results.model import Standing

_COLUMNS = [getattr(tables.results.c, name) for name in StoredResult.__dataclass_fields__]
_SELECT = ", ".join(column.name for column in _COLUMNS)
_RACES = 5
"""How often a batch is begun anew because another stream revised the same report; each time the other one got on."""

ReportName = tuple[str, str]
"""Laboratory and report number."""


class Store(Protocol):
    """What the Results service needs of a store. Every write is durable when it returns.

    A mutation takes its request and how to encode its outcome, because the answer to a request id is remembered in the
    same transaction (AIP-155).
    """

    async def create_lab(
        self, lab: Lab, request: CreateLabRequest, encode: Callable[[Lab], CreateLabResponse]
    ) -> CreateLabResponse:
        """Register a laboratory; the stored one when the same is there. AlreadyExists when another is."""
        ...

    async def set_standing(
        self,
        uscc: str,
        change: StandingChange,
        request: SetLabStandingRequest,
        encode: Callable[[Lab], SetLabStandingResponse],
    ) -> SetLabStandingResponse:
        """Add to a laboratory's history. NotFound."""
        ...

    async def get_lab(self, uscc: str) -> Lab:
        """One laboratory with its history. NotFound."""
        ...

    async def list_labs(self, region: str, after: str, limit: int) -> list[Lab]:
        """Laboratories of a region by code, from the one after `after` on."""
        ...

    async def commit_batch(self, position: UploadPosition, batch: JudgedBatch, now: Instant) -> Acknowledgement:
        """Store what is good of a batch and move the upload on, all in one. OutOfRange for a gap."""
        ...

    async def find_report_keys(self, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of a laboratory's reports by their numbers."""
        ...

    async def get_upload(self, lab: str, upload_id: str) -> Upload:
        """How far an upload has come. NotFound when nothing of it was committed."""
        ...

    async def get_result(self, lab: str, report_number: str, revision: int | None) -> tuple[StoredResult, Standing]:
        """One result, its newest revision unless one is named, and its laboratory's standing. NotFound."""
        ...

    async def find_persons(
        self, subject_keys: Sequence[bytes], reports: Sequence[ReportName], now: Instant
    ) -> Findings:
        """The results of persons and the named reports, with the laboratories of all of them."""
        ...


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look-up for several persons found.

    Attributes:
        by_person: for each person, in order, the newest revisions of their results, newest report first.
        by_report: the newest revision of each named report that is stored.
        standing_at: the standing of any laboratory of these at an instant; unknown for one that is not registered.
        region_of: the region of any laboratory of these; empty for one that is not registered.
    """

    by_person: list[list[StoredResult]]
    by_report: dict[ReportName, StoredResult]
    standing_at: Callable[[str, Instant], Standing]
    region_of: Callable[[str], str]


class SqlStore:
    """A store in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._labs = labs.LabMemory()
        self._months: set[Month] = set()

    async def create_lab(
        self, lab: Lab, request: CreateLabRequest, encode: Callable[[Lab], CreateLabResponse]
    ) -> CreateLabResponse:
        """Register a laboratory; the stored one when the same is there. AlreadyExists when another is."""

        def work(connection: Connection) -> CreateLabResponse:
            return answer_once(
                connection,
                tables.requests,
                "CreateLab",
                request.request_id,
                request,
                lab.create_time,
                lambda: encode(labs.create_lab(connection, lab)),
                response_type=CreateLabResponse,
            )

        response = await self._database.write(work)
        self._labs.forget(lab.uscc)
        return response

    async def set_standing(
        self,
        uscc: str,
        change: StandingChange,
        request: SetLabStandingRequest,
        encode: Callable[[Lab], SetLabStandingResponse],
    ) -> SetLabStandingResponse:
        """Add to a laboratory's history. NotFound."""

        def work(connection: Connection) -> SetLabStandingResponse:
            return answer_once(
                connection,
                tables.requests,
                "SetLabStanding",
                request.request_id,
                request,
                change.record_time,
                lambda: encode(labs.add_standing(connection, uscc, change)),
                response_type=SetLabStandingResponse,
            )

        response = await self._database.write(work)
        self._labs.forget(uscc)
        return response

    async def get_lab(self, uscc: str) -> Lab:
        """One laboratory with its history. NotFound."""
        return await self._database.read(labs.get_lab, uscc)

    async def list_labs(self, region: str, after: str, limit: int) -> list[Lab]:
        """Laboratories of a region by code, from the one after `after` on."""
        return await self._database.read(labs.list_labs, region, after, limit)

    async def commit_batch(self, position: UploadPosition, batch: JudgedBatch, now: Instant) -> Acknowledgement:
        """Store what is good of a batch and move the upload on, all in one. OutOfRange for a gap."""
        months = months_between([row.file_time for row in batch.results]) - self._months
        if months:
            await self._database.write(make_partitions, months)
            self._months |= months
        for _ in range(_RACES):
            try:
                return await self._database.write(commit_batch, position, batch, now)
            except RacedRevision:
                continue
        raise Unavailable("DATABASE_UNAVAILABLE", "other uploads of the same reports are under way; try again")

    async def find_report_keys(self, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of a laboratory's reports by their numbers."""
        return await self._database.read(
            lambda connection: bulk_for(connection).find_keys(connection, lab, report_numbers)
        )

    async def get_upload(self, lab: str, upload_id: str) -> Upload:
        """How far an upload has come. NotFound when nothing of it was committed."""
        return await self._database.read(_get_upload, lab, upload_id)

    async def get_result(self, lab: str, report_number: str, revision: int | None) -> tuple[StoredResult, Standing]:
        """One result, its newest revision unless one is named, and its laboratory's standing. NotFound."""

        def work(connection: Connection) -> tuple[StoredResult, Standing]:
            result = _get_result(connection, lab, report_number, revision)
            found = labs.find_labs(connection, [lab])
            return result, found[lab].standing_at(result.file_time) if lab in found else STANDING_UNKNOWN

        return await self._database.read(work)

    async def find_persons(
        self, subject_keys: Sequence[bytes], reports: Sequence[ReportName], now: Instant
    ) -> Findings:
        """The results of persons and the named reports, with the laboratories of all of them."""
        return await self._database.read(self._find_persons, subject_keys, reports, now)

    def _find_persons(
        self, connection: Connection, subject_keys: Sequence[bytes], reports: Sequence[ReportName], now: Instant
    ) -> Findings:
        find = _newest_by_person_sqlite if connection.dialect.name == "sqlite" else _newest_by_person_postgresql
        by_person = find(connection, subject_keys)
        by_report = _find_reports(connection, reports) if reports else {}
        named = {result.lab for results in by_person for result in results} | {lab for lab, _ in reports}
        self._labs.refresh(connection, named, now)
        return Findings(by_person, by_report, self._labs.standing_at, self._labs.region_of)


def _newest_by_person_postgresql(connection: Connection, subject_keys: Sequence[bytes]) -> list[list[StoredResult]]:
    """One index descent for each person and partition, all in one statement."""
    found: list[list[StoredResult]] = [[] for _ in subject_keys]
    rows = connection.exec_driver_sql(
        f"SELECT k.i, r.* FROM unnest(%s::bytea[]) WITH ORDINALITY AS k (key, i) CROSS JOIN LATERAL ("
        f"SELECT {_SELECT} FROM results WHERE subject_key = k.key AND state <> {SUPERSEDED}"
        f" ORDER BY file_time DESC LIMIT {MAX_PER_PERSON}) AS r",
        (list(subject_keys),),
    )
    for index, *columns in rows:
        found[index - 1].append(StoredResult(*columns))
    return found


def _newest_by_person_sqlite(connection: Connection, subject_keys: Sequence[bytes]) -> list[list[StoredResult]]:
    """One prepared statement for each person: SQLite is in this process, so a statement costs no round trip."""
    driver: Any = connection.connection.driver_connection
    statement = (
        f"SELECT {_SELECT} FROM results WHERE subject_key = ? AND state <> {SUPERSEDED}"
        f" ORDER BY file_time DESC LIMIT {MAX_PER_PERSON}"
    )
    return [[StoredResult(*row) for row in driver.execute(statement, (key,))] for key in subject_keys]


def _find_reports(connection: Connection, reports: Sequence[ReportName]) -> dict[ReportName, StoredResult]:
    """The newest revision of each of these reports that is stored."""
    keys, results = tables.report_keys, tables.results
    query = (
        select(*_COLUMNS)
        .join_from(
            keys,
            results,
            and_(
                results.c.subject_key == keys.c.subject_key,
                results.c.file_time == keys.c.file_time,
                results.c.lab == keys.c.lab,
                results.c.report_number == keys.c.report_number,
                results.c.revision == keys.c.revision,
            ),
        )
        .where(tuple_(keys.c.lab, keys.c.report_number).in_(list(reports)))
    )
    return {(row.lab, row.report_number): StoredResult(*row) for row in connection.execute(query)}


def _get_result(connection: Connection, lab: str, report_number: str, revision: int | None) -> StoredResult:
    newest = _find_reports(connection, [(lab, report_number)]).get((lab, report_number))
    name = format_result(lab, report_number, revision)
    if newest is None:
        raise NotFound.resource(name)
    if revision is None or revision == newest.revision:
        return newest
    results = tables.results
    query = select(*_COLUMNS).where(
        results.c.subject_key == newest.subject_key,
        results.c.lab == lab,
        results.c.report_number == report_number,
        results.c.revision == revision,
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.resource(name)
    return StoredResult(*row)


def _get_upload(connection: Connection, lab: str, upload_id: str) -> Upload:
    uploads = tables.uploads
    query = select(uploads).where(uploads.c.lab == lab, uploads.c.upload_id == upload_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.resource(format_upload(lab, upload_id))
    return Upload(*row)
