"""The effect of a floor on a policy below it, always in the holder's favour (docs/policy.md §4). Pure.

A floor may lift, so that no result is asked for. It may require that results count from the report time. It may set a
shortest window. That window applies beside the policy's window and does not replace it. If 90 hours replaced three
calendar days, for example, some results would count for less time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hutong.policy.v1 import policy_pb2

from services.domain.instant import DAY
from services.policy.model import ANY, NOT_REQUIRED, FloorOverride, Requirement, Revision, ShortestWindow, Window

BASIS = "test_required.window.basis"
WINDOW = "test_required.window"
LIFT = "test_required"
CHANNELS = "channels"
"""The fields that a floor replaces, as in `FloorOverride.field`. BASIS and WINDOW also stand for the basis and the
window of an accepted item."""

REPORT_TIME = policy_pb2.VALIDITY_BASIS_REPORT_TIME


def find_replaced(floor: Revision, lower: Revision) -> Iterator[FloorOverride]:
    """Yield what a floor replaces in a lower policy. Both must cover the purpose and the origin in question.

    A floor replaces nothing in another floor.
    """
    if lower.floor:
        return
    asked, says = lower.requirement, floor.requirement
    if asked.is_test:
        if not says.is_test:
            yield FloorOverride(LIFT, asked, NOT_REQUIRED, floor.name, lower.name)
        else:
            for item, window in asked.windows():
                if says.window.basis == REPORT_TIME != window.basis:
                    yield FloorOverride(BASIS, (window.basis,), (REPORT_TIME,), floor.name, lower.name, item)
                if says.shortest is not None and ends_earlier(window, says.shortest):
                    yield FloorOverride(WINDOW, window, says.shortest, floor.name, lower.name, item)
    joined = unite_channels(lower.channels, floor.channels)
    if joined != lower.channels:
        yield FloorOverride(CHANNELS, lower.channels, joined, floor.name, lower.name)


def bind(policy: Revision, floors: Sequence[Revision]) -> tuple[Revision, tuple[FloorOverride, ...]]:
    """Return a policy as the floors change it, and what each floor replaced. A lift comes before everything else.

    The floors must cover a purpose and origin of the policy. A shortest window does not change the policy's own window.
    """
    bound = policy
    overrides: list[FloorOverride] = []
    lift = find_lift(floors)
    if lift is not None:
        overrides += [override for override in find_replaced(lift, policy) if override.field == LIFT]
        bound = replace(policy, requirement=NOT_REQUIRED)
    for floor in floors:
        for override in find_replaced(floor, bound):
            if override.field == BASIS:
                bound = replace(bound, requirement=_count_from_report(bound.requirement))
            elif override.field == CHANNELS:
                bound = replace(bound, channels=unite(bound.channels, floor.channels))
            overrides.append(override)
    return bound, tuple(overrides)


def _count_from_report(asked: Requirement) -> Requirement:
    """Return a requirement in which every window that applies counts from the report time."""

    def counted(window: Window) -> Window:
        return replace(window, basis=REPORT_TIME)

    return replace(
        asked,
        window=counted(asked.window) if asked.uses_own_window else asked.window,
        accepted=tuple(replace(one, window=one.window and counted(one.window)) for one in asked.accepted),
    )


def find_lift(floors: Sequence[Revision]) -> Revision | None:
    """Return the first floor that lifts; None if no floor lifts."""
    return next((floor for floor in floors if not floor.requirement.is_test), None)


def ends_earlier(window: Window | ShortestWindow, shortest: ShortestWindow) -> bool:
    """Return whether some result expires earlier by the window than by the shortest window.

    Both must have the same basis. N calendar days last at least 24 N hours and a microsecond, namely for a result from
    the last microsecond of a day. They last at most 24 (N + 1) hours, namely for a result from midnight. Calendar days
    never include the last instant.
    """
    if window.calendar_days is not None and shortest.calendar_days is not None:
        return window.calendar_days < shortest.calendar_days
    if window.duration is not None and shortest.duration is not None:
        more = shortest.includes_boundary and not window.includes_boundary
        return window.duration < shortest.duration or (window.duration == shortest.duration and more)
    if window.calendar_days is not None and shortest.duration is not None:
        least = window.calendar_days * DAY + 1
        return shortest.duration > least or (shortest.duration == least and shortest.includes_boundary)
    if window.duration is not None and shortest.calendar_days is not None:
        return window.duration < (shortest.calendar_days + 1) * DAY
    return False


def unite_channels(channels: tuple[int, ...], floor: tuple[int, ...]) -> tuple[int, ...]:
    """Return a policy's channels together with a floor's channels.

    A policy that names no channels accepts all of them.
    """
    return unite(channels, floor) if channels and not set(floor) <= set(channels) else channels


def unite(*lists: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers that are in any of the lists, each once, in order."""
    return tuple(sorted({value for values in lists for value in values}))


def share_subjects(one: Revision, other: Revision) -> bool:
    """Return whether both revisions cover a purpose and an origin in common."""
    return share_purposes(one.purposes, other.purposes) and (
        ANY in (one.origin, other.origin) or one.origin == other.origin
    )


def share_purposes(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether two lists of purposes have a purpose in common. An empty list stands for all purposes."""
    return not one or not other or not set(one).isdisjoint(other)
