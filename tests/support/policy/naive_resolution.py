"""Resolution of policies, as plainly as it can be said: loops over all revisions, no index, no timeline, no cache."""

from __future__ import annotations

from collections.abc import Sequence

from services.policy.model import ANY, OTHER_PROVINCE, SAME_PROVINCE, Revision

NaiveAnswer = tuple[str, tuple[str, ...], int | None, frozenset[int] | None, frozenset[int]]
"""Governing policy, floors from the nation downwards, basis (0 for no test, None for no policy), channels (None for
all), forbidden grounds."""


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
    """Rule 5: whom a person may be. Not told, or told as the whole country, it is either class."""
    if arriving_from == "" or int(arriving_from) == 0:
        return [SAME_PROVINCE, OTHER_PROVINCE]
    return [SAME_PROVINCE] if arriving_from[:2] == region[:2] else [OTHER_PROVINCE]


def resolve_all(
    revisions: Sequence[Revision], region: str, purpose: int, arriving_from: str, at: int, known: int | None = None
) -> tuple[list[NaiveAnswer], frozenset[int]]:
    """Rule 5: the different answers of the classes, within the province first, and the grounds forbidden in any."""
    answers: list[NaiveAnswer] = []
    for origin in classes_of(region, arriving_from):
        answer = resolve(revisions, region, purpose, origin, at, known)
        if answer not in answers:
            answers.append(answer)
    return answers, frozenset(ground for answer in answers for ground in answer[4])


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
    if governing is None:
        return "", names, None, frozenset(c for floor in floors for c in floor.channels), grounds
    basis = governing.requirement.basis
    channels = set(governing.channels)
    if basis and floors:
        basis = floors[0].requirement.basis
    if channels:
        for floor in floors:
            channels |= set(floor.channels)
    return (
        governing.name,
        names,
        basis,
        frozenset(channels) if channels else None,
        grounds | frozenset(governing.forbidden_grounds),
    )
