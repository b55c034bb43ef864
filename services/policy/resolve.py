"""Policy resolution (DESIGN §5). Pure.

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
from services.domain.region import ancestry, same_province
from services.policy.model import (
    OTHER_PROVINCE,
    SAME_PROVINCE,
    Answer,
    Effective,
    Override,
    Revision,
    SeriesKey,
)

BASIS = "test_required.window.basis"
"""What a floor replaces, as `Override.field` names it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A revision while it is the one of its series that is in force: [start, end), end None for ever."""

    start: Instant
    end: Instant | None
    revision: Revision

    def holds(self, instant: Instant) -> bool:
        """Whether it is in force at an instant."""
        return self.start <= instant and (self.end is None or instant < self.end)


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


def origin_class(region: str, arriving_from: str) -> int:
    """SAME_PROVINCE or OTHER_PROVINCE, seen from the region; nothing stated means from the region itself."""
    return SAME_PROVINCE if not arriving_from or same_province(region, arriving_from) else OTHER_PROVINCE


class PolicyBook:
    """All revisions known, laid out for questions. Immutable: a publication makes a new one."""

    def __init__(self, revisions: Iterable[Revision] = (), known: Instant | None = None) -> None:
        series: dict[SeriesKey, list[Revision]] = {}
        for revision in revisions:
            series.setdefault(revision.series, []).append(revision)
        self.series: Mapping[SeriesKey, Sequence[Revision]] = series
        self._segments: dict[str, list[Segment]] = {}
        for (region, _), members in series.items():
            self._segments.setdefault(region, []).extend(series_segments(members, known))
        self._timelines: dict[tuple[str, int, int], _Timeline] = {}

    def segments(self, region: str) -> Sequence[Segment]:
        """Every time that a policy of this jurisdiction itself is in force."""
        return self._segments.get(region, ())

    @property
    def regions(self) -> Iterable[str]:
        """The jurisdictions that have policies."""
        return self._segments.keys()

    def resolve(self, region: str, purpose: int, arriving_from: str, at: Instant) -> Answer:
        """What applies at a place, for a purpose, for somebody who comes from somewhere, at an instant."""
        return self.resolve_class(region, purpose, origin_class(region, arriving_from), at)

    def resolve_class(self, region: str, purpose: int, origin: int, at: Instant) -> Answer:
        """As `resolve`, for SAME_PROVINCE or OTHER_PROVINCE."""
        # Regions without policies of their own share the timeline of the nearest one above that has some.
        anchor = next((place for place in ancestry(region) if place in self._segments), "")
        timeline = self._timelines.get((anchor, purpose, origin))
        if timeline is None:
            timeline = self._timelines[anchor, purpose, origin] = self._lay_out(anchor, purpose, origin)
        return timeline.at(at)

    def _lay_out(self, anchor: str, purpose: int, origin: int) -> _Timeline:
        levels = [
            [segment for segment in self._segments.get(place, ()) if segment.revision.covers(purpose, origin)]
            for place in (ancestry(anchor) if anchor else ())
        ]
        moments = {segment.start for level in levels for segment in level}
        moments |= {segment.end for level in levels for segment in level if segment.end is not None}
        starts: list[Instant | None] = [None, *sorted(moments)]
        merged: list[tuple[Instant | None, Effective]] = []
        for start in starts:
            effective = _compose(levels, origin, start)
            if not merged or merged[-1][1] != effective:
                merged.append((start, effective))
        return _Timeline(merged)


class _Timeline:
    """The answers of all time to one kind of question, each from its start until the next one's."""

    def __init__(self, pieces: Sequence[tuple[Instant | None, Effective]]) -> None:
        self._starts = [start for start, _ in pieces if start is not None]
        ends: list[Instant | None] = [*self._starts, None]
        self._answers = [Answer(effective, start, end) for (start, effective), end in zip(pieces, ends, strict=True)]

    def at(self, instant: Instant) -> Answer:
        return self._answers[bisect_right(self._starts, instant)]


def _compose(levels: Sequence[Sequence[Segment]], origin: int, at: Instant | None) -> Effective:
    """The answer at an instant (None is before everything), from the segments of each level, nearest first."""
    in_force = [[segment.revision for segment in level if at is not None and segment.holds(at)] for level in levels]
    # The highest authority's floor comes first and prevails where two contradict.
    floors = [revision for level in reversed(in_force) for revision in level if revision.floor]
    floors.sort(key=lambda floor: (len(ancestry(floor.region)), floor.policy_id))
    governing = next((found for level in in_force if (found := _most_specific(level, origin)) is not None), None)
    names = tuple(floor.name for floor in floors)
    grounds = _united(governing.forbidden_grounds if governing else (), *(f.forbidden_grounds for f in floors))
    if governing is None:
        return Effective(None, _united(*(floor.channels for floor in floors)), grounds, (), "", names, ())
    overrides: list[Override] = []
    basis_settled = False
    requirement = governing.requirement
    channels = governing.channels
    for floor in floors:
        basis = floor.requirement.basis
        if requirement.is_test and basis and requirement.basis != basis and not basis_settled:
            overrides.append(Override(BASIS, (requirement.basis,), (basis,), floor.name, governing.name))
            requirement = replace(requirement, basis=basis)
        basis_settled = basis_settled or bool(basis)
        if channels and floor.channels and not set(floor.channels) <= set(channels):
            joined = _united(channels, floor.channels)
            overrides.append(Override("channels", channels, joined, floor.name, governing.name))
            channels = joined
    return Effective(requirement, channels, grounds, governing.advice, governing.name, names, tuple(overrides))


def _most_specific(revisions: Sequence[Revision], origin: int) -> Revision | None:
    """The one that governs inside a jurisdiction: a named purpose before all, an exact origin before any.

    Publication refuses ties, so the name decides only between policies that were stored by other means.
    """
    candidates = [revision for revision in revisions if not revision.floor]
    if not candidates:
        return None
    return min(candidates, key=lambda revision: (not revision.purposes, revision.origin != origin, revision.policy_id))


def _united(*lists: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({value for values in lists for value in values}))
