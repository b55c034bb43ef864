"""What the nation makes of a revision whose number it knows: told again, overtaken, or at odds with what it has.

It is at odds when its node was restored from a copy older than what the nation knows of it, and went on from there. Of
what both then say the later writing by the node's clock stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from services.results.records.model import PENDING, SUPERSEDED, StoredResult


class Reconciliation(Enum):
    """What comes of such a revision."""

    KNOWN = auto()
    """It is here, or what stands here says the same."""
    MISSING = auto()
    """A newer one came before it: it belongs into the history."""
    AT_ODDS = auto()
    """The nation has another of its number, and that report stands."""
    SUCCEEDS = auto()
    """The nation has another of its number, and this one is the report's newest: its next revision here."""


def reconcile(told: StoredResult, history: Sequence[StoredResult]) -> Reconciliation:
    """What comes of a revision that is not beyond the newest of its report's: of these, of one person, oldest first."""
    if any(_is_same_writing(told, kept) for kept in history):
        return Reconciliation.KNOWN
    namesake = next((kept for kept in history if kept.revision == told.revision), None)
    if namesake is None:
        return Reconciliation.MISSING
    newest = history[-1]
    if told.state == newest.state and _content(told) == _content(newest):
        return Reconciliation.KNOWN
    # What follows it there comes too, and is judged then.
    overtaken = told.state == SUPERSEDED or told.upload_time <= newest.upload_time
    # A report that is uploaded once more as it was says nothing against what came of it since.
    repeated = told.revision == 1 and _content(told) == _content(namesake)
    unissued = told.outcome == PENDING and newest.outcome != PENDING
    return Reconciliation.AT_ODDS if overtaken or repeated or unissued else Reconciliation.SUCCEEDS


def _is_same_writing(told: StoredResult, kept: StoredResult) -> bool:
    """Whether a revision is this very one: by whatever number, and whether or not it has been superseded since."""
    if told.upload_time != kept.upload_time or _content(told) != _content(kept):
        return False
    return SUPERSEDED in (told.state, kept.state) or told.state == kept.state


def _content(result: StoredResult) -> StoredResult:
    """A revision without what is of its number, its writing and its node."""
    return result._replace(
        revision=0,
        state=SUPERSEDED,
        masked_name="",
        masked_number="",
        upload_time=0,
        national_receive_time=None,
        source_node="",
    )
