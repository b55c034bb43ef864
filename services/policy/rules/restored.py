"""Finds what comes back into force when a floor ends (docs/policy.md §7, §8). Pure functions.

A floor ends at its own end, with another revision of its series, or by its withdrawal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hutong.type.v1 import purpose_pb2

from services.domain.instant import Instant
from services.domain.region import ancestry
from services.policy.model import OTHER_PROVINCE, SAME_PROVINCE, FloorOverride, Revision
from services.policy.rules.floors import WINDOW, bind, ends_earlier, find_replaced, share_subjects
from services.policy.rules.resolve import PolicyBook, Segment, are_on_one_way, series_segments

PURPOSES = tuple(number for number in purpose_pb2.Purpose.values() if number)
KINDS = tuple((purpose, origin) for purpose in PURPOSES for origin in (SAME_PROVINCE, OTHER_PROVINCE))
"""All kinds of question about one region. A kind is a purpose and an origin."""


def find_restored(
    revision: Revision, before: PolicyBook, after: PolicyBook, since: Instant | None = None
) -> list[FloorOverride]:
    """Return what floors of the revision's series no longer override, and from when. Ordered by policy and start.

    Args:
        revision: the revision that is published or withdrawn.
        before: the book without this change.
        after: the book with this change.
        since: the earliest start to return. Gaps that have ended by this instant are left out. None means no limit.
    """
    found: dict[tuple[str, str, str, str], FloorOverride] = {}
    for gap in _gaps(revision, before, after):
        if since is not None and gap.end is not None and gap.end <= since:
            continue
        start = gap.start if since is None else max(gap.start, since)
        for override in _find_in_gap(replace(gap, start=start), after):
            key = (override.field, override.item, override.floor, override.policy)
            if key not in found or (override.start or 0) < (found[key].start or 0):
                found[key] = override
    return sorted(found.values(), key=lambda one: (one.policy, one.start or 0, one.floor, one.field, one.item))


def _gaps(revision: Revision, before: PolicyBook, after: PolicyBook) -> Iterator[Segment]:
    """Yield the intervals in which a floor of the series was in force before the change and is not after it.

    If the new revision is a floor with an end, the empty interval [end, end) is yielded for it.
    """
    standing = {one.revision.revision: one for one in series_segments(after.series(*revision.series))}
    for old in series_segments(before.series(*revision.series)):
        if old.revision.floor:
            left = standing.get(old.revision.revision)
            if left is None:
                yield old
            elif left.end is not None and (old.end is None or left.end < old.end):
                yield Segment(left.end, old.end, old.revision)
    own = standing.get(revision.revision)
    if own is not None and own.revision.floor and own.end is not None:
        yield Segment(own.end, own.end, own.revision)


def _find_in_gap(gap: Segment, book: PolicyBook) -> Iterator[FloorOverride]:
    for region in book.regions:
        if not are_on_one_way(region, gap.revision.region):
            continue
        place = max(region, gap.revision.region, key=lambda one: len(ancestry(one)))
        for lower in book.segments(region):
            was_overridden = gap.start != gap.end or lower.start != gap.start
            if was_overridden and share_subjects(gap.revision, lower.revision):
                yield from _find_in_life(gap, lower, place, book)


def _find_in_life(gap: Segment, lower: Segment, place: str, book: PolicyBook) -> Iterator[FloorOverride]:
    """Yield what comes back into force of one policy in a gap.

    That happens when the gap begins, or when another floor ends within the gap.
    """
    if not any(find_replaced(gap.revision, lower.revision)):
        return
    others = [one for step in ancestry(place) for one in book.segments(step) if one.revision.floor]
    first = max(gap.start, lower.start)
    moments = [first, *(one.end for one in others if one.end is not None and one.end > first)]
    for at in sorted(set(moments)):
        in_gap = gap.end is None or at < gap.end or at == gap.start
        if in_gap and lower.holds(at):
            binding = [one.revision for one in others if one.holds(at) and one.revision is not gap.revision]
            yield from _find_freed(gap.revision, lower.revision, at, binding)


def _find_freed(floor: Revision, lower: Revision, at: Instant, others: Sequence[Revision]) -> Iterator[FloorOverride]:
    """Yield each field of a policy that a floor would replace, unless the other floors replace it in all cases.

    The cases are the purposes and origins that both the floor and the policy cover.
    """
    fields = {(override.field, override.item) for override in find_replaced(floor, lower)}
    for purpose, origin in KINDS:
        if not fields:
            return
        if not (floor.covers(purpose, origin) and lower.covers(purpose, origin)):
            continue
        binding = [other for other in others if other.covers(purpose, origin)]
        bound, _ = bind(lower, binding)
        for override in find_replaced(floor, bound):
            field = (override.field, override.item)
            if field in fields and not (override.field == WINDOW and _is_covered(floor, binding)):
                fields.remove(field)
                yield replace(override, start=at)


def _is_covered(floor: Revision, others: list[Revision]) -> bool:
    """Return whether another floor has a shortest window that is as long as this floor's or longer."""
    shortest = floor.requirement.shortest
    windows = (other.requirement.shortest for other in others)
    return shortest is not None and any(window and not ends_earlier(window, shortest) for window in windows)
