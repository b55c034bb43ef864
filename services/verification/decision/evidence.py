"""Evidence against the record of the same report: equal, contradicting, or without one. Pure."""

from __future__ import annotations

import unicodedata

from services.domain.instant import MINUTE, SECOND, Instant
from services.verification.decision.model import PENDING, Evidence, Record


def canonical_report_number(number: str) -> str:
    """A report number as it is typed off a screen or a sheet: without spaces around it, full-width forms as ASCII."""
    return unicodedata.normalize("NFKC", number).strip()


def is_same_instant(shown: Instant, recorded: Instant) -> bool:
    """Whether a time as it is shown is the recorded one.

    Compared to the second; a time shown with zero seconds also to the minute, because paper prints no seconds.
    """
    if shown // SECOND == recorded // SECOND:
        return True
    return shown % MINUTE < SECOND and shown // MINUTE == recorded // MINUTE


def differing_fields(evidence: Evidence, record: Record) -> tuple[str, ...]:
    """In which fields evidence contradicts the record of its report; what evidence does not show contradicts nothing.

    A report follows its sampling record: where one of the two is PENDING, outcome and report time are not compared.
    """
    differing = []
    one_stage = (evidence.outcome == PENDING) == (record.outcome == PENDING)
    if one_stage and evidence.outcome != record.outcome:
        differing.append("outcome")
    if _differs(evidence.report_time, record.report_time) and one_stage:
        differing.append("report_time")
    if _differs(evidence.sample_time, record.sample_time):
        differing.append("sample_time")
    return tuple(differing)


def is_ahead_of_record(evidence: Evidence, record: Record) -> bool:
    """Whether the record is only that of the sampling, and the report in hand has not been uploaded yet."""
    return record.outcome == PENDING and evidence.outcome != PENDING


def _differs(shown: Instant | None, recorded: Instant | None) -> bool:
    return shown is not None and (recorded is None or not is_same_instant(shown, recorded))
