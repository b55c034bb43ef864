"""An order of its own for everything a decision is made from, so that the order it came in is without effect. Pure.

The channel comes last in the order of evidence: between two that differ in it alone nothing else may change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from services.domain.instant import Instant
from services.verification.decision.model import Claim, Evidence, Record, SourceStatus

_Optional: TypeAlias = tuple[bool, Instant]
RecordOrder: TypeAlias = tuple[str, int, tuple[int, int, int, Instant, _Optional, _Optional, _Optional, str]]
EvidenceOrder: TypeAlias = tuple[str, str, int, _Optional, _Optional, str, int, int, int]


def order_of_record(record: Record) -> RecordOrder:
    """By name, then revision; the rest only matters where a source contradicts itself."""
    rest = (
        record.state,
        record.outcome,
        record.lab_standing,
        record.sample_time,
        _optional(record.receive_time),
        _optional(record.test_time),
        _optional(record.report_time),
        record.item,
    )
    return record.name, record.revision, rest


def order_of_evidence(pair: tuple[Evidence, Claim]) -> EvidenceOrder:
    """By report, then by what is shown, then by what was found of it, then by channel."""
    evidence, claim = pair
    return (
        evidence.lab,
        evidence.report_number,
        evidence.outcome,
        _optional(evidence.sample_time),
        _optional(evidence.report_time),
        evidence.item,
        claim.state,
        claim.lab_standing,
        evidence.channel,
    )


@lru_cache(maxsize=256)
def in_order(sources: tuple[SourceStatus, ...]) -> tuple[SourceStatus, ...]:
    """Sources by name. Remembered, since decisions that are made together have the same ones."""
    return tuple(sorted(sources, key=_order_of_source))


def _order_of_source(status: SourceStatus) -> tuple[str, int, _Optional]:
    return status.source, status.state, _optional(status.as_of_time)


def _optional(instant: Instant | None) -> _Optional:
    return (False, 0) if instant is None else (True, instant)
