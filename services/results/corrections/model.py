"""Corrections and recalls of a laboratory's reports, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from services.domain.instant import Instant
from services.runtime.consistency import LogPosition

if TYPE_CHECKING:
    from services.results.records.model import Outcome, StoredResult


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of one report.

    If `sample_time`, `reissue_time` or `item` is None, the sample time, the report time or the item does not change.
    """

    lab: str
    report_number: str
    outcome: Outcome
    sample_time: Instant | None
    reissue_time: Instant | None
    reason: str
    item: str | None = None
    actor: str | None = None
    """The name of the caller; None if it is not known."""


class Corrected(NamedTuple):
    """The new revision of a corrected report, and the position of its commit in the change log."""

    result: StoredResult
    position: LogPosition


class Recalled(NamedTuple):
    """How many reports a request has recalled. A reader at `position` has all of these recalls."""

    report_count: int
    position: LogPosition


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall of a laboratory's reports with a reference time in [start_time, end_time).

    Only reports with one of `outcomes` and one of `items` are recalled. An empty tuple stands for all.
    """

    lab: str
    start_time: Instant
    end_time: Instant
    outcomes: tuple[int, ...]
    reason: str
    items: tuple[str, ...] = ()
    actor: str | None = None
    """The name of the caller; None if it is not known."""
    approver: str | None = None
    """The name of the caller that approved the recall; None if the recall needed no approval."""
