"""Resolution of policies, as plainly as it can be said: loops over all revisions, no index, no timeline, no cache."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, timezone
from typing import NamedTuple

from services.policy.model import ANY, OTHER_PROVINCE, SAME_PROVINCE, Requirement, Revision, ShortestWindow, Window

SHANGHAI = timezone(timedelta(hours=8))
HOUR = 3_600_000_000

LIFTED, ASKED, NOTHING, NO_POLICY = "lifted", "asked", "nothing", "no policy"


class NaiveAnswer(NamedTuple):
    """What applies to a question.

    Attributes:
        asks: what is asked for.
        accepts: each accepted item, with the window by which its results count.
        adverse: the adverse items, and how long their positives stand.
        channels: the accepted channels; None for all.
        shortest: each floor, with the shortest window that it sets.
        replaced: each floor, what it replaced, and of which item; "" for the policy's window, for channels and for the
            whole requirement.
    """

    governing: str
    floors: tuple[str, ...]
    asks: str
    accepts: tuple[tuple[str, Window], ...]
    adverse: tuple[tuple[str, ...], int | None]
    channels: frozenset[int] | None
    grounds: frozenset[int]
    lifted_by: str
    shortest: frozenset[tuple[str, ShortestWindow]]
    replaced: frozenset[tuple[str, str, str]]


def ends(window: Window | ShortestWindow, basis: int) -> tuple[int, bool]:
    """Return when a result ends that counts from a basis instant, and whether the end itself still counts."""
    if window.calendar_days is not None:
        start = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=basis)
        day = start.astimezone(SHANGHAI).date() + timedelta(days=window.calendar_days + 1)
        end = datetime.combine(day, time(), SHANGHAI) - datetime.fromtimestamp(0, UTC)
        return round(end / timedelta(microseconds=1)), False
    assert window.duration is not None
    return basis + window.duration, window.includes_boundary


BASES = (0, 1, HOUR, 16 * HOUR - 1, 16 * HOUR, 16 * HOUR + 1, 23 * HOUR, 24 * HOUR - 1)
"""Basis instants of one day.

Midnight in Asia/Shanghai is at 16:00 UTC. The first and the last microsecond of a day are among them, because a window
of calendar days is longest and shortest from there.
"""


def breaks(window: Window, shortest: ShortestWindow) -> bool:
    """Return whether some result ends earlier by the window than by the shortest window (rule 4)."""
    return any(ends(window, basis) < ends(shortest, basis) for basis in BASES)


def accepts(asked: Requirement) -> list[tuple[str, Window, bool]]:
    """Return each accepted item, the window by which its results count, and whether the window is its own."""
    if len(asked.accepted) == 0:
        return [("items/sars-cov-2-nucleic-acid", asked.window, False)]
    found = []
    for one in asked.accepted:
        name = "items/" + (one.item if one.item else "sars-cov-2-nucleic-acid")
        found.append((name, asked.window, False) if one.window is None else (name, one.window, True))
    return found


def chain(region: str) -> list[str]:
    """Return the region and everything above it."""
    found = [region]
    for cut in (4, 2, 0):
        above = region[:cut].ljust(6, "0")
        if above != found[-1]:
            found.append(above)
    return found


def in_force(revisions: Sequence[Revision], at: int, known: int | None) -> list[Revision]:
    """Return the revision in force of each series (docs/policy.md §2)."""
    found = []
    for series in {revision.series for revision in revisions}:
        best: Revision | None = None
        for revision in revisions:
            if revision.series != series or revision.start > at:
                continue
            if known is None:
                if revision.withdraw_time is not None:
                    continue
            elif revision.publish_time > known or (
                revision.withdraw_time is not None and revision.withdraw_time <= known
            ):
                continue
            if best is None or (revision.start, revision.revision) > (best.start, best.revision):
                best = revision
        if best is not None and (best.end is None or at < best.end):
            found.append(best)
    return found


def classes_of(region: str, arriving_from: str) -> list[int]:
    """Return the classes of origin that a person may be in (rule 5): both, if no province is given."""
    if arriving_from == "" or int(arriving_from) == 0:
        return [SAME_PROVINCE, OTHER_PROVINCE]
    return [SAME_PROVINCE] if arriving_from[:2] == region[:2] else [OTHER_PROVINCE]


def resolve_all(
    revisions: Sequence[Revision], region: str, purpose: int, arriving_from: str, at: int, known: int | None = None
) -> tuple[list[NaiveAnswer], frozenset[int]]:
    """Return the different answers of the classes, same province first, and the grounds forbidden in any (rule 5)."""
    answers: list[NaiveAnswer] = []
    for origin in classes_of(region, arriving_from):
        answer = resolve(revisions, region, purpose, origin, at, known)
        if answer not in answers:
            answers.append(answer)
    return answers, frozenset(ground for answer in answers for ground in answer.grounds)


def resolve(
    revisions: Sequence[Revision], region: str, purpose: int, origin: int, at: int, known: int | None = None
) -> NaiveAnswer:
    """Rules 2 and 3, for one class of origin."""
    speaking = [
        revision
        for revision in in_force(revisions, at, known)
        if (purpose in revision.purposes or not revision.purposes) and revision.origin in (ANY, origin)
    ]
    governing: Revision | None = None
    for jurisdiction in chain(region):
        here = [revision for revision in speaking if revision.region == jurisdiction and not revision.floor]
        if here:
            here.sort(key=lambda revision: (bool(revision.purposes), revision.origin == origin))
            governing = here[-1]
            break
    floors = [
        floor
        for jurisdiction in reversed(chain(region))
        for floor in sorted(speaking, key=lambda floor: floor.policy_id)
        if floor.region == jurisdiction and floor.floor
    ]
    names = tuple(floor.name for floor in floors)
    grounds = frozenset(ground for floor in floors for ground in floor.forbidden_grounds)
    lifts = [floor for floor in floors if not floor.requirement.is_test]
    caps = [floor for floor in floors if floor.requirement.is_test and floor.requirement.shortest is not None]
    own_channels = frozenset(governing.channels) if governing else frozenset()
    added = frozenset(channel for floor in floors for channel in floor.channels)
    channels: frozenset[int] | None = own_channels | added
    replaced: set[tuple[str, str, str]] = set()
    if governing is not None:
        grounds |= frozenset(governing.forbidden_grounds)
        if not own_channels:
            channels = None
        seen = set(own_channels)
        for floor in floors:
            if own_channels and not set(floor.channels) <= seen:
                replaced.add((floor.name, "channels", ""))
            seen |= set(floor.channels)
    asks = NO_POLICY
    counted: list[tuple[str, Window]] = []
    adverse: tuple[tuple[str, ...], int | None] = ((), None)
    if lifts:
        asks = LIFTED
        if governing is not None and governing.requirement.is_test:
            replaced.add((lifts[0].name, "lift", ""))
    elif governing is not None:
        asks = ASKED if governing.requirement.is_test else NOTHING
    if asks == ASKED:
        assert governing is not None
        adverse = (governing.requirement.adverse_items, governing.requirement.adverse_window)
        counting_from_the_report = [floor for floor in floors if floor.requirement.window.basis == 1]
        for item, window, is_own in accepts(governing.requirement):
            whose = item if is_own else ""
            for floor in caps:
                assert floor.requirement.shortest is not None
                if breaks(window, floor.requirement.shortest):
                    replaced.add((floor.name, "window", whose))
            basis = window.basis
            if basis == 2 and counting_from_the_report:
                basis = 1
                replaced.add((counting_from_the_report[0].name, "basis", whose))
            counted.append((item, Window(basis, window.duration, window.calendar_days, window.includes_boundary)))
    return NaiveAnswer(
        governing.name if governing else "",
        names,
        asks,
        tuple(counted),
        adverse,
        channels,
        grounds,
        lifts[0].name if lifts else "",
        frozenset((cap.name, cap.requirement.shortest) for cap in caps if cap.requirement.shortest)
        if asks == ASKED
        else frozenset(),
        frozenset(replaced),
    )
