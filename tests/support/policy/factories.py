"""Makes policies with few regions, purposes and instants, so that they often overlap."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from services.domain.errors import HutongError
from services.policy.model import (
    ANY,
    NOT_REQUIRED,
    OTHER_PROVINCE,
    SAME_PROVINCE,
    AcceptedItem,
    Requirement,
    Revision,
    ShortestWindow,
    Source,
    Window,
)
from services.policy.rules.guards import Publication, check_publication, check_withdrawal
from services.policy.rules.resolve import PolicyBook

REGIONS = ("000000", "410000", "410100", "410105", "370000", "370200")
ASKED = (*REGIONS, "410200", "370202", "220500")
PURPOSES = (1, 4, 6)
ITEMS = ("", "sars-cov-2-antigen", "sars-cov-2-antibody")
"""The default item and two others, by their ids."""
ORIGINS = (ANY, SAME_PROVINCE, OTHER_PROVINCE)
HOUR = 3_600_000_000
MONTH = 100
"""The latest instant of these policies; the earliest is 0."""


def make_revision(
    region: str = "410100",
    policy_id: str = "venue",
    revision: int = 1,
    *,
    purposes: tuple[int, ...] = (),
    origin: int = ANY,
    requirement: Requirement | None = None,
    channels: tuple[int, ...] = (),
    grounds: tuple[int, ...] = (),
    floor: bool = False,
    start: int = 0,
    end: int | None = None,
    published: int = 0,
    withdrawn: int | None = None,
    retroactive_reason: str = "a test",
) -> Revision:
    """Return a policy. Without a requirement it has a window of 48 hours from the report, or is a floor without one."""
    if requirement is None:
        requirement = Requirement(Window(1)) if floor else Requirement(Window(1, 48 * HOUR))
    return Revision(
        region=region,
        policy_id=policy_id,
        revision=revision,
        title="made up",
        source=Source(),
        purposes=purposes,
        origin=origin,
        requirement=requirement,
        channels=channels,
        forbidden_grounds=grounds,
        advice=(),
        floor=floor,
        start=start,
        end=end,
        publish_time=published,
        retroactive_reason=retroactive_reason,
        withdraw_time=withdrawn,
    )


def random_set(choose: random.Random, size: int) -> list[Revision]:
    """Return a random history of publications and withdrawals, one at each instant.

    Those that the guards refuse are left out.
    """
    revisions: list[Revision] = []
    counts: dict[tuple[str, str], int] = {}
    for now in range(size):
        book = PolicyBook(revisions)
        try:
            if revisions and choose.random() < 0.15:
                _withdraw(choose.randrange(len(revisions)), revisions, book, now)
                continue
            revision = _random_revision(choose, counts, now)
            check_publication(Publication(revision, "000000", MONTH), book)
        except HutongError:
            continue
        counts[revision.series] = revision.revision
        revisions.append(revision)
    return revisions


def _withdraw(index: int, revisions: list[Revision], book: PolicyBook, now: int) -> None:
    if revisions[index].withdraw_time is None:
        check_withdrawal(revisions[index], book)
        revisions[index] = replace(revisions[index], withdraw_time=now)


def _random_revision(choose: random.Random, counts: dict[tuple[str, str], int], now: int) -> Revision:
    region = choose.choice(REGIONS)
    floor = choose.random() < 0.2
    policy_id = "floor" if floor else choose.choice(("a", "b", "c"))
    start = choose.randrange(MONTH)
    return make_revision(
        region,
        policy_id,
        counts.get((region, policy_id), 0) + 1,
        purposes=tuple(sorted(choose.sample(PURPOSES, choose.choice((0, 1, 1, 2))))),
        origin=choose.choice(ORIGINS),
        requirement=random_requirement(choose, floor),
        channels=tuple(sorted(choose.sample(range(1, 8), choose.choice((0, 2, 4))))),
        grounds=tuple(sorted(choose.sample(range(1, 11), choose.choice((0, 2))))),
        floor=floor,
        start=start,
        end=choose.choice((None, start + 1 + choose.randrange(MONTH))),
        published=now,
    )


def random_requirement(choose: random.Random, floor: bool) -> Requirement:
    """Return what a policy asks for, with items or without, or what a floor states."""
    if choose.random() < 0.2:
        return NOT_REQUIRED
    if floor:
        shortest = random_shortest(choose) if choose.random() < 0.6 else None
        return Requirement(Window(choose.choice((0, 1, 1))), shortest=shortest)
    accepted = tuple(
        AcceptedItem(item, random_window(choose) if choose.random() < 0.6 else None)
        for item in choose.sample(ITEMS, choose.choice((0, 0, 1, 2, 3)))
    )
    return Requirement(
        random_window(choose),
        accepted=accepted,
        adverse_items=tuple(choose.sample(ITEMS, choose.choice((0, 0, 0, 2)))),
        adverse_window=choose.choice((None, None, 7 * 24 * HOUR)),
    )


def random_window(choose: random.Random) -> Window:
    """Return a window of a length of `random_shortest`, from the report or, in one case of four, from the sampling."""
    length = random_shortest(choose)
    return Window(choose.choice((1, 1, 1, 2)), length.duration, length.calendar_days, length.includes_boundary)


def random_shortest(choose: random.Random) -> ShortestWindow:
    """Return a length of one to three days. It often equals another one or differs from it by a microsecond."""
    days = choose.randrange(1, 4)
    if choose.random() < 0.4:
        return ShortestWindow(calendar_days=days)
    return ShortestWindow(days * 24 * HOUR + choose.choice((-1, 0, 0, 1, 2)), includes_boundary=choose.random() < 0.5)


def instants(revisions: Sequence[Revision]) -> list[int]:
    """Return the instants at which something can change, and those just before."""
    moments = {revision.start for revision in revisions} | {r.end for r in revisions if r.end is not None}
    return sorted({moment + step for moment in moments for step in (-1, 0)})
