"""A legal hold, and a revision that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from services.domain.instant import Instant
from services.domain.region import is_region
from services.results.records.model import StoredResult


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A legal hold. A result is held if it meets every condition that is stated.

    Attributes:
        subject_key: the key of the document, in the key version that was in use when the hold began; None without a
            document.
        other_key: the key of the document in the other version, if the pepper was rotating then; None otherwise.
        lab: the code of the laboratory; empty without one.
        report_start: results with this reference time or a later one are held; None without a bound.
        report_end: results with an earlier reference time are held; None without a bound.
        lift_time: None while the hold is active.
    """

    hold_id: str
    subject_key: bytes | None
    other_key: bytes | None
    masked_number: str
    lab: str
    report_start: Instant | None
    report_end: Instant | None
    reason: str
    create_time: Instant
    actor: str | None
    case_id: str
    lift_time: Instant | None = None
    lift_reason: str = ""
    lift_actor: str | None = None


SUPERVISORS = "supervisors/"
"""The beginning of the names of supervisors. The region follows."""


def region_of(hold: LegalHold, node: str) -> str:
    """Return the region that a hold belongs to: that of the supervisor that put it; for local callers the node's."""
    name = hold.actor or ""
    region = name.removeprefix(SUPERVISORS)[:6]
    return region if name.startswith(SUPERVISORS) and is_region(region) else node


class HeldResult(NamedTuple):
    """A revision that a purge has taken out of use.

    Attributes:
        revision_reason: the reason for the revision; empty for a first revision.
    """

    result: StoredResult
    revision_reason: str
    hold_time: Instant
