"""Merges the copy of a report from another node into the stored copy. Pure.

What was reported never changes. Assessments and answers of the node above replace those that are stored. Assessments
and answers of a node below only fill in what is absent. If two responsibilities differ, the responsibility with the
greater rank holds. If there are several reports of one refusal, the earliest report counts. Two nodes that have
exchanged a report therefore store the same about it, in whatever order the messages came.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from services.domain.instant import Instant
from services.domain.region import within
from services.verification.refusals.routing import ANSWER_WITHIN, Links, Responsibility
from services.verification.refusals.rules import ASSESSMENT, Refusal

_ANSWER = ("answer", "answer_node", "answer_time")
_PARTS = {ASSESSMENT: "assess_node", _ANSWER: "answer_node"}
"""The parts of a report that another node may state. A key is the columns of a part, and its value is the column that
names the node that made the part. The last column of a part is empty if the part is absent."""
_NEEDED_ABOVE = ("statement", "evidence", "shown_decision")
"""The columns that a node sends up only if a node above needs them. If the columns come after the report, they are
filled in."""


class Standing(Enum):
    """The outcome of a received report."""

    TAKEN = "TAKEN"
    NOT_ITS_OWN = "NOT_ITS_OWN"
    DEFERRED = "DEFERRED"


class Merged(NamedTuple):
    """The result of a merge.

    Attributes:
        standing: whether the report is taken.
        refusal: the report as it is to be stored; None if it is not taken.
        is_changed: whether the report differs from the stored one.
        answers_sender: whether the sender lacks something that is known here about the report.
    """

    standing: Standing
    refusal: Refusal | None = None
    is_changed: bool = False
    answers_sender: bool = False


def merge(stored: Refusal | None, received: Refusal, sender: str, links: Links, now: Instant) -> Merged:
    """Merge a received report with the stored one, which is None if the report is not known here.

    Args:
        stored: the stored report.
        received: the received report.
        sender: the region of the node that sent it.
        links: the nodes with which this node exchanges reports.
        now: when it was received.
    """
    is_below = sender != links.above
    may_introduce = not is_below or within(received.origin_node, sender)
    may_state = not is_below or within(received.region, sender)
    if stored is None:
        if not may_introduce:
            # A sender that may speak for the place got the report from this node. This node has lost the report in a
            # restore.
            return Merged(Standing.DEFERRED if may_state else Standing.NOT_ITS_OWN)
        known = _as_reported(received)
    else:
        if stored.origin_node != received.origin_node or stored.region != received.region:
            return Merged(Standing.NOT_ITS_OWN)
        known = stored
    if received.duplicate_of and (may_state or may_introduce):
        known = known.as_duplicate_of(min(received.duplicate_of, known.duplicate_of or received.duplicate_of))
    if may_state:
        known = _permitted(known, received, sender, is_below=is_below)
    if stored is not None and may_introduce:
        known = replace(known, **{name: getattr(known, name) or getattr(received, name) for name in _NEEDED_ABOVE})
    if known.assess_time is not None:
        known = replace(known, evidence=b"", shown_decision=b"")
    if known.answer_time is None and links.covers(known.region):
        known = _with_greater(known, Responsibility(links.own, now + ANSWER_WITHIN))
    return Merged(Standing.TAKEN, known, known != stored, _lacks_something(received, known, links, is_below=is_below))


def _as_reported(received: Refusal) -> Refusal:
    """Return a new report without anything that its sender may not state."""
    empty: dict[str, Any] = {
        "assessment": 0,
        "forbidden_grounds": (),
        "decision": "",
        "assess_node": "",
        "assess_time": None,
        "answer": "",
        "answer_node": "",
        "answer_time": None,
        "duplicate_of": "",
        "responsible_node": "",
        "due_time": received.create_time + ANSWER_WITHIN,
        "escalation_count": 0,
    }
    return replace(received, **empty)


def _permitted(known: Refusal, received: Refusal, sender: str, *, is_below: bool) -> Refusal:
    """Take over what a sender states about a report. The sender may speak for the place of the report.

    A node below may state only what that node, or a node below it, has done.
    """
    for part, by in _PARTS.items():
        node = getattr(received, by)
        if node and (not is_below or (within(node, sender) and not getattr(known, part[-1]))):
            known = _with_part(known, received, part)
    if received.responsible_node and (not is_below or within(received.responsible_node, sender)):
        known = _with_greater(known, received.responsibility)
    return known


def _with_part(known: Refusal, received: Refusal, part: tuple[str, ...]) -> Refusal:
    stated = {name: getattr(received, name) for name in part}
    if part is _ANSWER and any(getattr(known, name) != value for name, value in stated.items()):
        # Only the node that answered knows the actor.
        stated["answer_actor"] = None
    return replace(known, **stated)


def _with_greater(known: Refusal, stated: Responsibility) -> Refusal:
    return known.with_responsibility(stated) if stated.rank > known.responsibility.rank else known


def _lacks_something(received: Refusal, known: Refusal, links: Links, *, is_below: bool) -> bool:
    for part in _PARTS:
        if getattr(known, part[-1]) and any(getattr(known, name) != getattr(received, name) for name in part):
            return True
    if known.duplicate_of and known.duplicate_of != received.duplicate_of:
        return True
    if known.responsible_node and known.responsibility.rank > received.responsibility.rank:
        return True
    # This node sends the person's words up only once the node above has taken the report over.
    taken = bool(known.responsible_node) and not within(known.responsible_node, links.own)
    return not is_below and taken and bool(known.statement) and not received.statement
