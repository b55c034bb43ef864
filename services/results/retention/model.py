"""Purges: their ages, their pace, and the deletion record."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.instant import DAY, Instant, Span


@dataclass(frozen=True, slots=True)
class ResultsAges:
    """For how long each kind of row of Results is kept at most.

    Results themselves are kept until they are before the horizon.

    Attributes:
        uploads: uploads, after their last batch. Their rejections are removed with them.
        requests: remembered request ids.
        missing_reports: missing reports, after they were shown for the first time.
        links: links of documents, after their end. Active links are kept.
        changes: entries of the change log. A node with an upstream keeps the entries that the upstream has not
            acknowledged.
        exchange: notifications to other nodes, and positions in change logs that no node has any more.
    """

    uploads: Span = 180 * DAY
    requests: Span = 30 * DAY
    missing_reports: Span = 30 * DAY
    links: Span = 730 * DAY
    changes: Span = 730 * DAY
    exchange: Span = 90 * DAY


@dataclass(frozen=True, slots=True)
class PurgePace:
    """How much a purge does at once. Other work goes on between the steps.

    Attributes:
        step_size: rows that one transaction examines. On SQLite uploads wait for that transaction.
        entries: lists of reports that one read decodes. A list has up to some ten thousand reports.
        drop_tries: attempts to drop a month that is being read, or to empty SQLite's log.
        drop_pause: the pause between two attempts, in seconds.
    """

    step_size: int = 5_000
    entries: int = 20
    drop_tries: int = 60
    drop_pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion record. Every result with a reference time before the horizon is removed."""

    deletion_id: str
    horizon: Instant
    result_count: int
    digest: str
    delete_time: Instant
    actor: str | None = None
