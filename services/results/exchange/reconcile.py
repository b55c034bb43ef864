"""Reconciles a received revision whose number is known already: a replay, a late revision, or a conflict.

A conflict arises when a node was restored from an older copy and continued from there. Two revisions then have one
number. The revision that was written later by the node's clock counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from services.results.records.model import PENDING, SUPERSEDED, StoredResult


class Reconciliation(Enum):
    """How a received revision is treated."""

    KNOWN = auto()
    """The revision is stored, or the newest revision here has the same content."""
    MISSING = auto()
    """A newer revision arrived first. The received one is added to the history."""
    CONFLICTS = auto()
    """Another revision with the number of the received one is stored, and the report stays as it is."""
    SUCCEEDS = auto()
    """Another revision with the number of the received one is stored. The received one was written later and becomes
    the next revision."""


def reconcile(received: StoredResult, history: Sequence[StoredResult]) -> Reconciliation:
    """Return how to treat a revision whose number is not greater than that of the report's newest revision.

    `history` holds the report's stored revisions of the same subject, oldest first.
    """
    if any(_is_same_revision(received, kept) for kept in history):
        return Reconciliation.KNOWN
    same_number = next((kept for kept in history if kept.revision == received.revision), None)
    if same_number is None:
        return Reconciliation.MISSING
    newest = history[-1]
    if received.state == newest.state and _content(received) == _content(newest):
        return Reconciliation.KNOWN
    # Later revisions of the sender will arrive too, and are reconciled then.
    overtaken = received.state == SUPERSEDED or received.upload_time <= newest.upload_time
    # If the original report is uploaded again, this does not undo later revisions.
    repeated = received.revision == 1 and _content(received) == _content(same_number)
    unissued = received.outcome == PENDING and newest.outcome != PENDING
    return Reconciliation.CONFLICTS if overtaken or repeated or unissued else Reconciliation.SUCCEEDS


def _is_same_revision(received: StoredResult, kept: StoredResult) -> bool:
    """Return whether the two are the same revision.

    Their numbers may differ, and one of them may have been superseded in the meantime.
    """
    if received.upload_time != kept.upload_time or _content(received) != _content(kept):
        return False
    return SUPERSEDED in (received.state, kept.state) or received.state == kept.state


def _content(result: StoredResult) -> StoredResult:
    """Return a revision without its number, state, masks, storage times and node."""
    return result._replace(
        revision=0,
        state=SUPERSEDED,
        masked_name="",
        masked_number="",
        upload_time=0,
        national_receive_time=None,
        source_node="",
    )
