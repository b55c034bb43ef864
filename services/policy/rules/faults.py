"""Faults of a policy that do not depend on other policies. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from hutong_texts import english

from services.domain.errors import Violation
from services.domain.instant import Span
from services.domain.region import is_region
from services.policy.model import Requirement, Revision
from services.policy.rules.floors import REPORT_TIME

ASKED = "policy.test_required"
"""The field by which a publication asks for a result."""


def find_faults(revision: Revision) -> list[Violation]:
    """Return the faults of a policy that can be found without other policies."""
    faults = []
    requirement = revision.requirement
    if not is_region(revision.region):
        faults.append(Violation("policy.name", "REGION_UNKNOWN", english("the region is not one of GB/T 2260")))
    if ends_too_soon(revision):
        faults.append(
            Violation("policy.effective_end_time", "INVALID_FIELD", english("must be after effective_start_time"))
        )
    if not _is_day(revision.source.issue_date):
        faults.append(Violation("policy.source.issue_date", "INVALID_FIELD", english("is not a day of the calendar")))
    for length, field in _lengths(requirement):
        if length == 0:
            text = english("must be at least a microsecond")
            faults.append(Violation(f"{ASKED}.{field}", "INVALID_FIELD", text))
    if requirement.is_test:
        faults += _find_window_faults(requirement, floor=revision.floor)
        faults += _find_item_faults(requirement, floor=revision.floor)
    return faults


def _lengths(requirement: Requirement) -> Iterator[tuple[Span | None, str]]:
    """Yield each length of time that a requirement states, and its field."""
    yield requirement.window.duration, "window.duration"
    yield requirement.sampling_proof, "sampling_proof_window"
    if requirement.shortest is not None:
        yield requirement.shortest.duration, "shortest_window.duration"
    yield requirement.adverse_window, "adverse_window"
    for index, one in enumerate(requirement.accepted):
        if one.window is not None:
            yield one.window.duration, f"accepted[{index}].window.duration"


def _find_window_faults(requirement: Requirement, *, floor: bool) -> Iterator[Violation]:
    """Yield the faults in the windows of a policy that requires a result. Other rules hold for floors."""
    has_length = requirement.window.has_length
    if floor and has_length:
        text = english(
            "a floor has no length: the hours are each place's own; how long at least is its shortest_window"
        )
        yield Violation(f"{ASKED}.window.length", "INVALID_FIELD", text)
    if floor and requirement.window.basis not in (0, REPORT_TIME):
        text = english(
            "a floor counts from the report or leaves the basis open: another basis could shorten what places give"
        )
        yield Violation(f"{ASKED}.window.basis", "INVALID_FIELD", text)
    if floor and requirement.sampling_proof is not None:
        text = english("a floor states none: whether a sampling record counts, and how long, is each place's own")
        yield Violation(f"{ASKED}.sampling_proof_window", "INVALID_FIELD", text)
    if not floor and not has_length:
        text = english("needs a duration or calendar_days; only a floor has none")
        yield Violation(f"{ASKED}.window.length", "INVALID_FIELD", text)
    if not floor and requirement.shortest is not None:
        text = english("only a floor has one: how long a result counts here is said by the window")
        yield Violation(f"{ASKED}.shortest_window", "INVALID_FIELD", text)


def _find_item_faults(requirement: Requirement, *, floor: bool) -> Iterator[Violation]:
    """Yield the faults in the items of a policy that requires a result. Other rules hold for floors."""
    if floor:
        stated = {
            "accepted": requirement.accepted,
            "adverse_items": requirement.adverse_items,
            "adverse_window": requirement.adverse_window is not None,
        }
        for field in (field for field, value in stated.items() if value):
            text = english(
                "a floor states no items: which test satisfies and which stands against the person is each place's own"
            )
            yield Violation(f"{ASKED}.{field}", "INVALID_FIELD", text)
        return
    for index, one in enumerate(requirement.accepted):
        if one.window is not None and not one.window.has_length:
            text = english("needs a duration or calendar_days; without a window of its own the item has the policy's")
            yield Violation(f"{ASKED}.accepted[{index}].window.length", "INVALID_FIELD", text)


def ends_too_soon(revision: Revision) -> bool:
    """Return whether a policy ends before it starts, or at the instant of its start."""
    return revision.end is not None and revision.end <= revision.start


def _is_day(text: str) -> bool:
    """Return whether a text is empty or a day of the calendar. An empty text means that no day is stated."""
    try:
        return not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
