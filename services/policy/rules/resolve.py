"""Policy resolution (docs/policy.md §2 to §5). Pure.

A question is a region, a purpose, an origin and an instant. The jurisdictions are searched from the region up to the
nation. The first jurisdiction with a policy for the question governs. The floors of all these jurisdictions bind. For
each kind of question, the answers of all time are computed once as a timeline. A question then costs one bisection.
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
    """An interval [start, end) in which a revision is in force. If the end is None, the interval never ends."""

    start: Instant
    end: Instant | None
    revision: Revision

    def holds(self, instant: Instant) -> bool:
        """Return whether the revision is in force at an instant."""
        return self.start <= instant and (self.end is None or instant < self.end)

    def overlaps(self, other: Segment) -> bool:
        """Return whether there is an instant at which both are in force."""
        return (self.end is None or other.start < self.end) and (other.end is None or self.start < other.end)


def series_segments(revisions: Iterable[Revision], known: Instant | None = None) -> list[Segment]:
    """Return when each revision of one series is in force.

    Of the revisions that have started by an instant, the one with the latest start is in force. Of several revisions
    with this start, the latest revision is in force. Once it has ended, no revision of the series is in force, not even
    an older one.
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
    """Return whether two regions are the same or one is above the other.

    Only then may one answer use policies of both.
    """
    return within(one, other) or within(other, one)


def origin_class(region: str, arriving_from: str) -> int:
    """Return SAME_PROVINCE or OTHER_PROVINCE, as seen from `region`; UNKNOWN_ORIGIN if no province is given.

    An absent fact never counts against a person. An origin that is not given is therefore in neither class.
    """
    if arriving_from in ("", NATION):
        return UNKNOWN_ORIGIN
    return SAME_PROVINCE if same_province(region, arriving_from) else OTHER_PROVINCE


def unite_classes(same: Answer, other: Answer) -> Answer | AnswerByOrigin:
    """Return the answer for an unknown origin: one answer if both classes agree, otherwise both answers.

    The result holds in the intersection of the two intervals. Outside it, the answer of one class may change.
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
    """The policies of one jurisdiction: the revisions of each series, oldest first, and their segments."""

    series: Mapping[str, tuple[Revision, ...]]
    segments: tuple[Segment, ...]


class PolicyBook:
    """All known revisions, indexed for questions. A publication makes a new book, which shares the unchanged parts."""

    def __init__(self, revisions: Iterable[Revision] = (), known: Instant | None = None) -> None:
        self._jurisdictions: dict[str, _Jurisdiction] = {}
        self._timelines: dict[str, dict[tuple[int, int], _Timeline]] = {}
        self._put(revisions, known)

    def with_revisions(self, revisions: Iterable[Revision]) -> PolicyBook:
        """Return the book with revisions added.

        A revision of the same name in the book is replaced.

        The cost depends on the jurisdictions of the added revisions, not on the size of the book.

        """
        book = PolicyBook()
        book._jurisdictions = dict(self._jurisdictions)
        touched = book._put(revisions, None)
        # The dictionary is copied, because another thread may add a timeline meanwhile.
        for anchor, timelines in self._timelines.copy().items():
            if touched.isdisjoint(ancestry(anchor) if anchor else ()):
                book._timelines[anchor] = timelines
        return book

    def known_at(self, known: Instant, region: str) -> PolicyBook:
        """Return the book of what was published and not withdrawn at the instant `known`.

        It serves questions about `region`.
        """
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
        """Return the revisions of one policy, withdrawn ones too, oldest first; empty if there is no such policy."""
        jurisdiction = self._jurisdictions.get(region)
        return jurisdiction.series.get(policy_id, ()) if jurisdiction else ()

    def series_of(self, region: str) -> Sequence[str]:
        """Return the ids of a jurisdiction's policies in order."""
        jurisdiction = self._jurisdictions.get(region)
        return sorted(jurisdiction.series) if jurisdiction else ()

    def segments(self, region: str) -> Sequence[Segment]:
        """Return when each policy of a jurisdiction is in force. Policies of other jurisdictions are not included."""
        jurisdiction = self._jurisdictions.get(region)
        return jurisdiction.segments if jurisdiction else ()

    @property
    def regions(self) -> Iterable[str]:
        """The jurisdictions that have policies."""
        return self._jurisdictions.keys()

    def resolve(self, region: str, purpose: int, arriving_from: str, at: Instant) -> Answer | AnswerByOrigin:
        """Return what applies in a region, for a purpose and an origin, at an instant. The origin may be unknown."""
        origin = origin_class(region, arriving_from)
        if origin == UNKNOWN_ORIGIN:
            return unite_classes(*self.resolve_both(region, purpose, at))
        return self.resolve_class(region, purpose, origin, at)

    def resolve_both(self, region: str, purpose: int, at: Instant) -> tuple[Answer, Answer]:
        """Return the answers for SAME_PROVINCE and for OTHER_PROVINCE."""
        same = self.resolve_class(region, purpose, SAME_PROVINCE, at)
        return same, self.resolve_class(region, purpose, OTHER_PROVINCE, at)

    def resolve_class(self, region: str, purpose: int, origin: int, at: Instant) -> Answer:
        """Return what applies to one class of origin: SAME_PROVINCE or OTHER_PROVINCE."""
        # A region without policies shares the timelines of the nearest region above it that has policies.
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
    """The answers of all time to one kind of question. Each holds from its start until the next answer starts."""

    __slots__ = ("_answers", "_starts")

    def __init__(self, pieces: Sequence[tuple[Instant | None, Effective]]) -> None:
        self._starts = [start for start, _ in pieces if start is not None]
        ends: list[Instant | None] = [*self._starts, None]
        self._answers = [Answer(effective, start, end) for (start, effective), end in zip(pieces, ends, strict=True)]

    def at(self, instant: Instant) -> Answer:
        return self._answers[bisect_right(self._starts, instant)]


def _compose(in_force: Sequence[Sequence[Revision]], origin: int) -> Effective:
    """Return the answer from the revisions that are in force and cover the question, the nearest jurisdiction first."""
    # The floor of the highest authority comes first. The order decides only which floor is named, because all floors
    # bind.
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
    """Return the policy that governs inside a jurisdiction; None if there is none.

    A policy that names the purpose comes before a policy for all purposes. Among equals, a policy for this origin comes
    before a policy for any origin. Publication refuses ties. If ties were stored by other means, the name decides.
    """
    candidates = [revision for revision in revisions if not revision.floor]
    if not candidates:
        return None
    return min(candidates, key=lambda revision: (not revision.purposes, revision.origin != origin, revision.policy_id))
