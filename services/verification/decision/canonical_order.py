"""Canonical order of a decision's inputs, so that arrival order cannot change the outcome. Pure.

The channel is the last key in the order of evidence. It decides only between pieces that are equal in everything else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from services.domain.instant import Instant
from services.verification.decision.model import Claim, Evidence, Record, SourceStatus

_Optional: TypeAlias = tuple[bool, Instant]
RecordOrder: TypeAlias = tuple[str, int, tuple[int, int, int, Instant, _Optional, _Optional, _Optional, str]]
EvidenceOrder: TypeAlias = tuple[str, str, str, int, _Optional, _Optional, str, int, int, int]


def order_of_record(record: Record) -> RecordOrder:
    """Return the sort key of a record: name, then revision. Other fields matter only if a source contradicts itself."""
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
    """Return the sort key of evidence: its report, then what it shows, then what Results found, then its channel."""
    evidence, claim = pair
    return (
        evidence.lab,
        evidence.lab_name,
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
    """Return sources sorted by name. The result is cached, because decisions made together have the same sources."""
    return tuple(sorted(sources, key=_order_of_source))


def _order_of_source(status: SourceStatus) -> tuple[str, int, _Optional]:
    return status.source, status.state, _optional(status.as_of_time)


def _optional(instant: Instant | None) -> _Optional:
    return (False, 0) if instant is None else (True, instant)
