"""Finds the answers at an instant that a publication or withdrawal changes. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from services.domain.instant import Instant
from services.domain.region import ancestry, within
from services.policy.model import Revision
from services.policy.rules.resolve import PolicyBook, most_specific, series_segments
from services.policy.rules.restored import KINDS


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of question to which the book before a change and the book after it have different answers."""

    region: str
    purpose: int
    origin: int


def find_changes(revision: Revision, before: PolicyBook, after: PolicyBook, at: Instant) -> Iterator[Change]:
    """Yield the kinds of question whose answer a new or withdrawn revision changes.

    Only the revision's jurisdiction, and regions below it with policies of their own, are examined. Every other region
    below has the answers of the nearest examined region above it.

    An answer names the policy that governs and the floors that bind. An answer changes if it names the new or withdrawn
    revision, or the revision of the same series that was in force before. Answers therefore need not be computed here.
    """
    pairs = [(book, _in_force(book, revision, at)) for book in (before, after)]
    if pairs[0][1] == pairs[1][1]:
        return
    bound = {kind for kind in KINDS for _, one in pairs if one is not None and one.floor and one.covers(*kind)}
    governed = {kind for kind in KINDS for book, one in pairs if one is not None and _governs(one, book, kind, at)}
    for region in sorted({revision.region, *after.regions}):
        if not within(region, revision.region):
            continue
        nearer = _nearer(region, revision.region, after, at) if governed else []
        for kind in KINDS:
            if kind in bound or (kind in governed and not any(one.covers(*kind) for one in nearer)):
                yield Change(region, *kind)


def _in_force(book: PolicyBook, revision: Revision, at: Instant) -> Revision | None:
    """Return the revision of the series that is in force; None if there is none."""
    segments = series_segments(book.series(*revision.series))
    return next((segment.revision for segment in segments if segment.holds(at)), None)


def _governs(one: Revision, book: PolicyBook, kind: tuple[int, int], at: Instant) -> bool:
    """Return whether a revision in force governs a kind of question in its own jurisdiction."""
    covering = [it.revision for it in book.segments(one.region) if it.holds(at) and it.revision.covers(*kind)]
    return not one.floor and most_specific(covering, kind[1]) == one


def _nearer(region: str, place: str, book: PolicyBook, at: Instant) -> list[Revision]:
    """Return the revisions in force in `region` and in the regions between `region` and `place`.

    Floors are left out. These revisions take precedence over those of `place`.
    """
    below = takewhile(lambda step: step != place, ancestry(region))
    return [it.revision for step in below for it in book.segments(step) if it.holds(at) and not it.revision.floor]
