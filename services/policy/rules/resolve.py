"""Policy resolution (docs/policy.md §2 to §5). Pure.

A question is a region, a purpose, an origin and an instant. The first jurisdiction on the way from the region to the
nation that has a policy for it governs; floors of every jurisdiction on that way bind. For each kind of question the
answers of all time are laid out once as a timeline, so that a question costs one bisection.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from services.domain.instant import Instant
from services.domain.region import NATION, ancestry, same_province, within
from services.policy.model import (
    NOT_REQUIRED,
    OTHER_PROVINCE,
    SAME_PROVINCE,
    UNKNOWN_ORIGIN,
    Answer,
    AnswerByOrigin,
    Effective,
    FloorWindow,
    Revision,
    Source,
)
from services.policy.rules.floors import bind, find_lift, unite


@dataclass(frozen=True, slots=True)
class Segment:
    """A revision while it is the one of its series that is in force: [start, end), end None for ever."""

    start: Instant
    end: Instant | None
    revision: Revision

    def holds(self, instant: Instant) -> bool:
        """Whether it is in force at an instant."""
        return self.start <= instant and (self.end is None or instant < self.end)

    def overlaps(self, other: Segment) -> bool:
        """Whether there is an instant at which both are in force."""
        return (self.end is None or other.start < self.end) and (other.end is None or self.start < other.end)


def series_segments(revisions: Iterable[Revision], known: Instant | None = None) -> list[Segment]:
    """When each revision of one series is in force.

    In force is the one with the greatest start at or before the instant, of two with the same start the later revision;
    once that one has ended nothing is, older revisions neither.
    """
    by_start: dict[Instant, Revision] = {}
    for revision in sorted(revisions, key=lambda revision: revision.revision):
        if revision.known_at(known):
            by_start[revision.start] = revision
    starts = sorted(by_start)
    segments = []
    for start, next_start in zip_longest(starts, starts[1:]):
        revision = by_start[start]
        end = _earlier(revision.end, next_start)
        if end is None or end > start:
            segments.append(Segment(start, end, revision))
    return segments


def _earlier(one: Instant | None, other: Instant | None) -> Instant | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def are_on_one_way(one: str, other: str) -> bool:
    """Whether one of two regions is the other or above it, so that policies of both can meet in one answer."""
    return within(one, other) or within(other, one)


def origin_class(region: str, arriving_from: str) -> int:
    """SAME_PROVINCE or OTHER_PROVINCE, seen from the region; UNKNOWN_ORIGIN if no province is told.

    A fact that is absent is never taken as adverse, so an origin that is not told is never taken as either class.
    """
    if arriving_from in ("", NATION):
        return UNKNOWN_ORIGIN
    return SAME_PROVINCE if same_province(region, arriving_from) else OTHER_PROVINCE


def unite_classes(same: Answer, other: Answer) -> Answer | AnswerByOrigin:
    """The answer for an unknown origin: one if both classes agree, else both, each whole.

    It holds in the intersection of the two intervals, because outside it one of the classes may change.
    """
    start, end = _later(same.start, other.start), _earlier(same.end, other.end)
    if same.effective == other.effective:
        return replace(same, start=start, end=end)
    grounds = unite(same.effective.forbidden_grounds, other.effective.forbidden_grounds)
    return AnswerByOrigin(same, other, grounds, start, end)


def _later(one: Instant | None, other: Instant | None) -> Instant | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


@dataclass(frozen=True, slots=True)
class _Jurisdiction:
    """One jurisdiction's policies: each series' revisions, oldest first, and when they are in force."""

    series: Mapping[str, tuple[Revision, ...]]
    segments: tuple[Segment, ...]


class PolicyBook:
    """All revisions known, laid out for questions. A publication makes a new one, which shares what it leaves alone."""

    def __init__(self, revisions: Iterable[Revision] = (), known: Instant | None = None) -> None:
        self._jurisdictions: dict[str, _Jurisdiction] = {}
        self._timelines: dict[str, dict[tuple[int, int], _Timeline]] = {}
        self._put(revisions, known)

    def with_revisions(self, revisions: Iterable[Revision]) -> PolicyBook:
        """The book with revisions added, or in the place of those with their names; costs by what they touch."""
        book = PolicyBook()
        book._jurisdictions = dict(self._jurisdictions)
        touched = book._put(revisions, None)
        # Copied first: another thread may be laying out a timeline.
        for anchor, timelines in self._timelines.copy().items():
            if touched.isdisjoint(ancestry(anchor) if anchor else ()):
                book._timelines[anchor] = timelines
        return book

    def known_at(self, known: Instant, region: str) -> PolicyBook:
        """What was published and not yet withdrawn at an instant, as far as it matters in a region."""
        return PolicyBook((one for place in ancestry(region) for one in self._all_of(place)), known)

    def _put(self, revisions: Iterable[Revision], known: Instant | None) -> set[str]:
        coming: dict[str, dict[str, dict[int, Revision]]] = {}
        for revision in revisions:
            coming.setdefault(revision.region, {}).setdefault(revision.policy_id, {})[revision.revision] = revision
        for region, changed in coming.items():
            jurisdiction = self._jurisdictions.get(region)
            series = dict(jurisdiction.series) if jurisdiction else {}
            for policy_id, members in changed.items():
                joined = {one.revision: one for one in series.get(policy_id, ())} | members
                series[policy_id] = tuple(joined[number] for number in sorted(joined))
            segments = tuple(segment for members in series.values() for segment in series_segments(members, known))
            self._jurisdictions[region] = _Jurisdiction(series, segments)
        return set(coming)

    def series(self, region: str, policy_id: str) -> Sequence[Revision]:
        """The revisions of one policy, oldest first, withdrawn ones too; empty when there is none."""
        jurisdiction = self._jurisdictions.get(region)
        return jurisdiction.series.get(policy_id, ()) if jurisdiction else ()

    def series_of(self, region: str) -> Sequence[str]:
        """The ids of a jurisdiction's policies, in order."""
        jurisdiction = self._jurisdictions.get(region)
        return sorted(jurisdiction.series) if jurisdiction else ()

    def segments(self, region: str) -> Sequence[Segment]:
        """Every time that a policy of this jurisdiction itself is in force."""
        jurisdiction = self._jurisdictions.get(region)
        return jurisdiction.segments if jurisdiction else ()

    @property
    def regions(self) -> Iterable[str]:
        """The jurisdictions that have policies."""
        return self._jurisdictions.keys()

    def resolve(self, region: str, purpose: int, arriving_from: str, at: Instant) -> Answer | AnswerByOrigin:
        """What applies at a place, for a purpose, to a person of an origin that may be unknown, at an instant."""
        origin = origin_class(region, arriving_from)
        if origin == UNKNOWN_ORIGIN:
            return unite_classes(*self.resolve_both(region, purpose, at))
        return self.resolve_class(region, purpose, origin, at)

    def resolve_both(self, region: str, purpose: int, at: Instant) -> tuple[Answer, Answer]:
        """The answers for SAME_PROVINCE and for OTHER_PROVINCE."""
        same = self.resolve_class(region, purpose, SAME_PROVINCE, at)
        return same, self.resolve_class(region, purpose, OTHER_PROVINCE, at)

    def resolve_class(self, region: str, purpose: int, origin: int, at: Instant) -> Answer:
        """As `resolve`, for SAME_PROVINCE or OTHER_PROVINCE."""
        # Regions without policies of their own share the timelines of the nearest one above that has some.
        anchor = next((place for place in ancestry(region) if place in self._jurisdictions), "")
        timelines = self._timelines.get(anchor)
        if timelines is None:
            timelines = self._timelines[anchor] = {}
        timeline = timelines.get((purpose, origin))
        if timeline is None:
            timeline = timelines[purpose, origin] = self._lay_out(anchor, purpose, origin)
        return timeline.at(at)

    def _all_of(self, region: str) -> Iterable[Revision]:
        jurisdiction = self._jurisdictions.get(region)
        return (one for members in jurisdiction.series.values() for one in members) if jurisdiction else ()

    def _lay_out(self, anchor: str, purpose: int, origin: int) -> _Timeline:
        places = ancestry(anchor) if anchor else ()
        turns: dict[Instant, list[tuple[int, Revision, bool]]] = {}
        for level, place in enumerate(places):
            for segment in self.segments(place):
                if segment.revision.covers(purpose, origin):
                    turns.setdefault(segment.start, []).append((level, segment.revision, True))
                    if segment.end is not None:
                        turns.setdefault(segment.end, []).append((level, segment.revision, False))
        in_force: list[list[Revision]] = [[] for _ in places]
        pieces: list[tuple[Instant | None, Effective]] = [(None, _compose(in_force, origin))]
        for moment in sorted(turns):
            for level, revision, begins in turns[moment]:
                if begins:
                    in_force[level].append(revision)
                else:
                    in_force[level].remove(revision)
            effective = _compose(in_force, origin)
            if pieces[-1][1] != effective:
                pieces.append((moment, effective))
        return _Timeline(pieces)


class _Timeline:
    """The answers of all time to one kind of question, each from its start until the next one's."""

    __slots__ = ("_answers", "_starts")

    def __init__(self, pieces: Sequence[tuple[Instant | None, Effective]]) -> None:
        self._starts = [start for start, _ in pieces if start is not None]
        ends: list[Instant | None] = [*self._starts, None]
        self._answers = [Answer(effective, start, end) for (start, effective), end in zip(pieces, ends, strict=True)]

    def at(self, instant: Instant) -> Answer:
        return self._answers[bisect_right(self._starts, instant)]


def _compose(in_force: Sequence[Sequence[Revision]], origin: int) -> Effective:
    """The answer made from what is in force and covers the question, nearest place first."""
    # The highest authority's floor comes first. All floors bind, so the order decides only which one is named.
    floors = [revision for level in reversed(in_force) for revision in level if revision.floor]
    floors.sort(key=lambda floor: (len(ancestry(floor.region)), floor.policy_id))
    governing = next((found for level in in_force if (found := most_specific(level, origin)) is not None), None)
    lift = find_lift(floors)
    bound, overrides = bind(governing, floors) if governing else (None, ())
    requirement = bound.requirement if bound else None
    windows: tuple[FloorWindow, ...] = ()
    if requirement is not None and requirement.is_test:
        windows = tuple(FloorWindow(it.requirement.shortest, it.name) for it in floors if it.requirement.shortest)
    return Effective(
        NOT_REQUIRED if lift else requirement,
        bound.channels if bound else unite(*(floor.channels for floor in floors)),
        unite(governing.forbidden_grounds if governing else (), *(floor.forbidden_grounds for floor in floors)),
        governing.advice if governing else (),
        governing.name if governing else "",
        tuple(floor.name for floor in floors),
        overrides,
        governing.source if governing else Source(),
        floors[0].source if floors else Source(),
        windows,
        lift.name if lift else "",
        lift.source if lift else Source(),
    )


def most_specific(revisions: Sequence[Revision], origin: int) -> Revision | None:
    """The one that governs inside a jurisdiction: a named purpose before all, an exact origin before any.

    Publication refuses ties, so the name decides only between policies that were stored by other means.
    """
    candidates = [revision for revision in revisions if not revision.floor]
    if not candidates:
        return None
    return min(candidates, key=lambda revision: (not revision.purposes, revision.origin != origin, revision.policy_id))
