"""What a laboratory corrects or recalls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.domain.instant import Instant

if TYPE_CHECKING:
    from services.results.records.model import Outcome


@dataclass(frozen=True, slots=True)
class Correction:
    """What a laboratory puts right in one of its reports; None where it was right."""

    lab: str
    report_number: str
    outcome: Outcome
    sample_time: Instant | None
    reissue_time: Instant | None
    reason: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Which of a laboratory's reports are taken back: filed in [start_time, end_time), with one of the outcomes."""

    lab: str
    start_time: Instant
    end_time: Instant
    outcomes: tuple[int, ...]
    reason: str
