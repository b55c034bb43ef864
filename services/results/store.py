"""Where results live, as the service sees it. `services.results.sql_store` is SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from services.domain.instant import Instant, Span
from services.results.changelog.log import Cursor
from services.results.upload.known_batches import KnownBatch
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
from services.results.watch.batches import ChangeBatch
from services.results.records.queries import LabPosition, Position, ReportName
from services.results.timeliness.delays import Summary

if TYPE_CHECKING:
    from services.results.records.model import Standing

E = TypeVar("E")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Once(Generic[E, M]):
    """A mutation's request and how its outcome is answered.

    The answer to a request id is remembered in the same transaction as what the request did (AIP-155).
    """

    request: Message
    response_type: type[M]
    encode: Callable[[E], M]
    now: Instant


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, with the laboratories of all of it.

    Attributes:
        by_person: for each person, in order, the newest revisions of their results, newest report first.
        by_report: the newest revision of each named report that is stored.
        persons: for each person, in order, the keys of all of their documents.
        standing_at: the standing of any laboratory of these at an instant; unknown for one that is not registered.
        region_of: the region of any laboratory of these; empty for one that is not registered.
        horizon: the instant before which nothing is kept, when a named report was not found.
    """

    by_person: Sequence[Sequence[StoredResult]]
    by_report: dict[ReportName, StoredResult]
    persons: Sequence[Sequence[bytes]]
    standing_at: Callable[[str, Instant], Standing]
    region_of: Callable[[str], str]
    horizon: Instant | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Results with the standing of their laboratories.

    Attributes:
        horizon: of a page the instant before which nothing is kept.
        next_position: of a laboratory's page where the next one begins; None at the end.
    """

    results: Sequence[StoredResult]
    standing_at: Callable[[str, Instant], Standing]
    horizon: Instant | None = None
    next_position: LabPosition | None = None


class Store(Protocol):
    """What the Results service needs of a store. Every write is durable when it returns."""

    async def create_lab(self, lab: Lab, once: Once[Lab, M]) -> M:
        """Register a laboratory; the stored one when the same is there. AlreadyExists when another is."""
        ...

    async def set_standing(self, uscc: str, change: StandingChange, once: Once[Lab, M]) -> M:
        """Add to a laboratory's history. NotFound."""
        ...

    async def get_lab(self, uscc: str) -> Lab:
        """One laboratory with its history. NotFound."""
        ...

    async def list_labs(self, region: str, after: str, limit: int) -> list[Lab]:
        """Laboratories of a region by code, from the one after `after` on."""
        ...

    async def commit_batch(self, position: UploadPosition, batch: JudgedBatch, now: Instant) -> Acknowledgement:
        """Store what is good of a batch and move the upload on, all in one.

        OutOfRange for a gap, InvalidArgument for an id that was used for other tubes, RemovedMeanwhile.
        """
        ...

    async def find_known_batch(self, lab: str, digest: bytes) -> KnownBatch | None:
        """A batch that is known by its hash; None for one that is not."""
        ...

    async def find_report_keys(self, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of a laboratory's reports by their numbers."""
        ...

    async def find_foreign(self, lab: str, report_numbers: Sequence[str]) -> dict[str, str]:
        """Those of a laboratory's reports that are stored and that another node received first, with its region."""
        ...

    async def get_horizon(self) -> Instant | None:
        """The instant before which retention has removed everything; None while it removed nothing."""
        ...

    async def get_upload(self, lab: str, upload_id: str) -> Upload:
        """How far an upload has come. NotFound when nothing of it was committed."""
        ...

    async def get_result(self, lab: str, report_number: str, revision: int | None) -> Listing:
        """One result, its newest revision unless one is named. NotFound, FailedPrecondition when it was removed."""
        ...

    async def find_persons(
        self, subject_keys: Sequence[bytes], reports: Sequence[ReportName], now: Instant
    ) -> Findings:
        """The results of persons, by any of their documents, and the named reports."""
        ...

    async def list_by_person(
        self, subject_key: bytes, query: ResultQuery, after: Position | None, limit: int, now: Instant
    ) -> Listing:
        """Results of a person by any of their documents, newest report first."""
        ...

    async def list_by_lab(self, lab: str, query: ResultQuery, after: LabPosition, limit: int, now: Instant) -> Listing:
        """Results of a laboratory by report number; fewer than `limit` when it has looked at many for them."""
        ...

    async def correct(self, correction: Correction, once: Once[StoredResult, M]) -> M:
        """Write the next revision of a report. NotFound, FailedPrecondition, InvalidArgument."""
        ...

    async def recall(self, recall: Recall, once: Once[int, M], *, pretend: bool) -> M:
        """Take back a laboratory's reports, step by step, or only count them.

        NotFound when the laboratory is not registered, FailedPrecondition when all of the interval was removed.
        """
        ...

    async def link(self, link: DocumentLink, once: Once[DocumentLink, M]) -> M:
        """Tie two documents together."""
        ...

    async def unlink(
        self, document: LinkedDocument, linked: LinkedDocument, reason: str, once: Once[DocumentLink, M]
    ) -> M:
        """Untie two documents. NotFound when they are not tied."""
        ...

    async def list_links(self, subject_key: bytes, before: tuple[int, str] | None, limit: int) -> list[DocumentLink]:
        """A document's links, past ones too, newest first."""
        ...

    async def oldest_cursor(self) -> Cursor:
        """The cursor from which on everything is kept."""
        ...

    async def newest_cursor(self) -> Cursor:
        """The cursor after everything that is committed."""
        ...

    async def read_changes(self, cursor: Cursor, now: Instant, limit: int) -> ChangeBatch:
        """What was committed after a cursor, up to `limit` results: nothing before what was committed before it began.

        OutOfRange when the cursor is too old or not of this log.
        """
        ...

    async def summarize_timeliness(self, lab: str, region: str, start: Instant, end: Instant, late: Span) -> Summary:
        """One laboratory's timeliness, or that of each of a region and under "" of all of them. NotFound."""
        ...
