"""Compares evidence with the record of the same report. Pure."""

from __future__ import annotations

import unicodedata

from services.domain.instant import MINUTE, SECOND, Instant
from services.verification.decision.model import PENDING, Evidence, Record


def canonical_report_number(number: str) -> str:
    """Return a typed report number without surrounding spaces, and with full-width characters as ASCII."""
    return unicodedata.normalize("NFKC", number).strip()


def is_same_instant(shown: Instant, recorded: Instant) -> bool:
    """Return whether a shown time equals the recorded time.

    Times are equal if they lie in the same second. A shown time with zero seconds also equals a recorded time in the
    same minute, because paper prints no seconds.
    """
    if shown // SECOND == recorded // SECOND:
        return True
    return shown % MINUTE < SECOND and shown // MINUTE == recorded // MINUTE


def differing_fields(evidence: Evidence, record: Record) -> tuple[str, ...]:
    """Return the fields in which evidence contradicts the record of its report. A field not shown never differs.

    If only one of the two is PENDING, outcome and report time are not compared. In that case one of the two is a
    sampling record, and the other is the report that follows it.
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
    """Return whether evidence shows a report while the record is still the sampling record.

    The report is then not uploaded yet.
    """
    return record.outcome == PENDING and evidence.outcome != PENDING


def is_same_as_record(evidence: Evidence, record: Record) -> bool:
    """Return whether evidence shows what the record says.

    No field differs, and the evidence does not show a report while the record is still the sampling record.
    """
    return not differing_fields(evidence, record) and not is_ahead_of_record(evidence, record)


def _differs(shown: Instant | None, recorded: Instant | None) -> bool:
    return shown is not None and (recorded is None or not is_same_instant(shown, recorded))
