"""The laws of floors (docs/policy.md §4): they bind every governing policy, and only ever in the holder's favour."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.domain.errors import HutongError
from services.domain.names import describe_item
from services.policy.model import (
    NOT_REQUIRED,
    OTHER_PROVINCE,
    SAME_PROVINCE,
    Effective,
    FloorOverride,
    Requirement,
    Revision,
    ShortestWindow,
    Window,
)
from services.policy.rules.floors import BASIS, CHANNELS, LIFT, WINDOW, ends_earlier
from services.policy.rules.guards import Publication, check_publication, find_overridden
from services.policy.rules.impact import find_changes
from services.policy.rules.resolve import PolicyBook
from services.policy.rules.restored import find_restored
from tests.support.policy.factories import ASKED, HOUR, MONTH, PURPOSES, instants, make_revision, random_set
from tests.support.policy.naive_resolution import BASES, accepts, breaks, chain, ends

DAY = 24 * HOUR
NUCLEIC_ACID = "items/sars-cov-2-nucleic-acid"
lengths = st.builds(
    lambda days, off, in_days, boundary: (
        ShortestWindow(calendar_days=days) if in_days else ShortestWindow(days * DAY + off, includes_boundary=boundary)
    ),
    st.integers(1, 3),
    st.integers(-2, 2),
    st.booleans(),
    st.booleans(),
)
windows = lengths.map(lambda it: Window(1, it.duration, it.calendar_days, includes_boundary=it.includes_boundary))
seeds = st.integers(0, 10**9)
kinds = st.tuples(st.sampled_from(ASKED), st.sampled_from(PURPOSES), st.sampled_from((SAME_PROVINCE, OTHER_PROVINCE)))


def make_lift(policy_id: str = "lift", region: str = "000000", **fields: object) -> Revision:
    """Return a floor by which nothing is asked."""
    return make_revision(region, policy_id, floor=True, requirement=NOT_REQUIRED, **fields)  # type: ignore[arg-type]


def make_shortest(hours: int, policy_id: str = "shortest", **fields: object) -> Revision:
    """Return a floor by which every result counts for at least so many hours."""
    requirement = Requirement(shortest=ShortestWindow(hours * HOUR))
    return make_revision("000000", policy_id, floor=True, requirement=requirement, **fields)  # type: ignore[arg-type]


def answer(*revisions: Revision, at: int = 0) -> Effective:
    """Return the answer for hotels of a district of Zhengzhou."""
    return PolicyBook(revisions).resolve_class("410105", 4, SAME_PROVINCE, at).effective


def in_force_at(book: PolicyBook, region: str, at: int) -> list[Revision]:
    """The revisions of one jurisdiction that are in force."""
    return [one.revision for one in book.segments(region) if one.holds(at)]


def is_worse(was: Requirement | None, now: Requirement | None) -> bool:
    """Whether something is asked that was not, or counts from the sampling that counted from the report."""
    assert was is not None
    assert now is not None
    if not was.is_test or not now.is_test:
        return now.is_test and not was.is_test
    counted = zip(accepts(was), accepts(now), strict=True)
    return any(before.basis < after.basis for (_, before, _), (_, after, _) in counted)


def last_ends(effective: Effective, basis: int) -> dict[str, tuple[int, bool]]:
    """When a result of a basis instant ends by an answer that asks for one, for each accepted item."""
    assert effective.requirement is not None
    shortest = [ends(it.shortest, basis) for it in effective.shortest_windows]
    return {item: max([ends(window, basis), *shortest]) for item, window, _ in accepts(effective.requirement)}


def path(override: FloorOverride, revision: Revision) -> str:
    """The field of a publication that a floor replaces. An accepted item with its own window has an index in a list."""
    for index, one in enumerate(revision.requirement.accepted):
        if override.item == describe_item(one.item):
            window = f"policy.test_required.accepted[{index}].window"
            return f"{window}.basis" if override.field == BASIS else window
    return f"policy.{override.field}"


@given(windows, lengths, st.integers(0, 400 * DAY))
def test_breach_is_its_pointwise_meaning(window: Window, shortest: ShortestWindow, basis: int) -> None:
    """Some basis instant ends earlier by the window: then the table says so, and otherwise no instant does."""
    assert ends_earlier(window, shortest) == breaks(window, shortest)
    if ends(window, basis) < ends(shortest, basis):
        assert ends_earlier(window, shortest)


@pytest.mark.parametrize(
    ("window", "shortest", "broken"),
    [
        (Window(1, 48 * HOUR), ShortestWindow(48 * HOUR), False),
        (Window(1, 48 * HOUR), ShortestWindow(48 * HOUR, includes_boundary=True), True),
        (Window(1, 48 * HOUR - 1), ShortestWindow(48 * HOUR), True),
        (Window(1, None, 2), ShortestWindow(None, 3), True),
        (Window(1, None, 2), ShortestWindow(48 * HOUR), False),
        (Window(1, None, 2), ShortestWindow(48 * HOUR + 1), False),
        (Window(1, None, 2), ShortestWindow(48 * HOUR + 1, includes_boundary=True), True),
        (Window(1, None, 2), ShortestWindow(48 * HOUR + 2), True),
        (Window(1, 72 * HOUR), ShortestWindow(None, 2), False),
        (Window(1, 72 * HOUR - 1, includes_boundary=True), ShortestWindow(None, 2), True),
    ],
)
def test_breach_at_its_edges(window: Window, shortest: ShortestWindow, broken: bool) -> None:
    """N days last from 24 N hours and a microsecond to 24 (N + 1) hours."""
    assert ends_earlier(window, shortest) == broken


def test_shortest_window_is_united_and_does_not_take_the_place_of_the_window() -> None:
    """90 hours beside 3 calendar days: a result of early morning keeps its days, one of late evening gains hours."""
    days = make_revision(requirement=Requirement(Window(1, None, 3)))
    effective = answer(days, make_shortest(90))
    assert effective.requirement == days.requirement
    assert [one.field for one in effective.overrides] == [WINDOW]
    early, late = 16 * HOUR, 16 * HOUR - 1
    assert (
        last_ends(effective, early)[NUCLEIC_ACID]
        == ends(days.requirement.window, early)
        > ends(ShortestWindow(90 * HOUR), early)
    )
    assert (
        last_ends(effective, late)[NUCLEIC_ACID]
        == ends(ShortestWindow(90 * HOUR), late)
        > ends(days.requirement.window, late)
    )


def test_shortest_window_that_adds_nothing_binds_and_replaces_nothing() -> None:
    """The shortest window is still named in the answer."""
    effective = answer(make_revision(), make_shortest(24))
    assert [one.shortest.duration for one in effective.shortest_windows] == [24 * HOUR]
    assert effective.overrides == ()


def test_lift_holds_where_nothing_governs_and_where_something_does() -> None:
    """The floor is named; a policy of any place, and another floor, undoes nothing."""
    lift = make_lift()
    alone = answer(lift)
    assert (alone.requirement, alone.governing, alone.lifting_floor) == (NOT_REQUIRED, "", lift.name)
    city = make_revision(purposes=(4,))
    both = answer(lift, city, make_shortest(72), make_revision("410000", "f", floor=True))
    assert (both.requirement, both.governing, both.lifting_floor) == (NOT_REQUIRED, city.name, lift.name)
    assert both.shortest_windows == ()
    assert [(one.field, one.stated) for one in both.overrides] == [(LIFT, city.requirement)]


@given(seeds, kinds, st.integers(-5, 2 * MONTH))
@settings(deadline=None, max_examples=60)
def test_nothing_undoes_a_lift(seed: int, kind: tuple[str, int, int], at: int) -> None:
    """If a floor lifts for a kind of question, nothing is asked there, whatever else is published."""
    revisions = random_set(random.Random(seed), 12)
    region, purpose, origin = kind
    lift = make_lift("z-lift", region[:2] + "0000", purposes=(purpose,), origin=origin, start=-10)
    effective = PolicyBook([*revisions, lift]).resolve_class(*kind, at).effective
    assert effective.requirement == NOT_REQUIRED
    assert effective.lifting_floor


@given(seeds, kinds, st.integers(-5, 2 * MONTH), st.integers(0, 10**9))
@settings(deadline=None, max_examples=60)
def test_floor_never_makes_an_answer_worse(seed: int, kind: tuple[str, int, int], at: int, added: int) -> None:
    """A further floor asks for nothing new, ends no result earlier, and removes no ground and no channel."""
    choose = random.Random(added)
    floors = [one for one in random_set(choose, 25) if one.floor]
    assume(floors)
    more = replace(choose.choice(floors), policy_id="more", start=choose.randrange(MONTH))
    revisions = random_set(random.Random(seed), 12)
    before = PolicyBook(revisions).resolve_class(*kind, at).effective
    after = PolicyBook([*revisions, more]).resolve_class(*kind, at).effective
    assert set(before.forbidden_grounds) <= set(after.forbidden_grounds)
    assert after.governing == before.governing
    if after.governing:
        assert set(before.channels) <= set(after.channels)
        assert bool(after.channels) == bool(before.channels)
    if after.requirement is None or not after.requirement.is_test:
        assert after.requirement == NOT_REQUIRED or before.requirement is None
        return
    assert before.requirement is not None
    assert before.requirement.is_test
    assert not is_worse(before.requirement, after.requirement)
    assert [(it.item, it.window is None) for it in before.requirement.accepted] == [
        (it.item, it.window is None) for it in after.requirement.accepted
    ]
    assert before.requirement.adverse_items == after.requirement.adverse_items
    assert before.requirement.adverse_window == after.requirement.adverse_window
    for basis in BASES:
        ended, extended = last_ends(before, basis), last_ends(after, basis)
        assert all(ended[item] <= extended[item] for item in ended)


@given(seeds, seeds)
@settings(deadline=None, max_examples=60)
def test_publication_without_breach_is_not_overridden_by_that_floor(seed: int, other: int) -> None:
    """All that a floor in force at the policy's start would replace is a breach, and nothing else is."""
    standing = random_set(random.Random(seed), 15)
    governing = [one for one in random_set(random.Random(other), 10) if not one.floor]
    assume(governing)
    new = replace(governing[-1], policy_id="new", revision=1, end=None, withdraw_time=None)
    book = PolicyBook(standing)
    try:
        check_publication(Publication(new, "000000", MONTH), book)
        broken = set()
    except HutongError as error:
        broken = {(it.field, it.subject) for it in error.violations if it.reason == "POLICY_BREACH"}
    told = [one for one in find_overridden(new, book) if one.field != CHANNELS]
    at_start = {(path(one, new), one.floor) for one in told if one.start == new.start}
    in_force = {one.name for region in chain(new.region) for one in in_force_at(book, region, new.start)}
    assert broken == {(field, floor) for field, floor in at_start if floor in in_force}
    after = book.with_revisions([new])
    for region in ASKED:
        for purpose in PURPOSES:
            effective = after.resolve_class(region, purpose, SAME_PROVINCE, new.start).effective
            if effective.governing == new.name:
                replaced = {(path(one, new), one.floor) for one in effective.overrides if one.field != CHANNELS}
                assert {one for one in replaced if one[1] in in_force} <= broken


def test_end_and_withdrawal_of_a_floor_tell_what_comes_back() -> None:
    """A floor ends by its own end, by another revision in its place, or by a withdrawal from now on."""
    city = make_revision(purposes=(4,), start=10)
    lift = make_lift(start=20, end=50)
    book = PolicyBook([city])
    (ended,) = find_restored(lift, book, book.with_revisions([lift]))
    assert (ended.field, ended.policy, ended.floor, ended.start) == (LIFT, city.name, lift.name, 50)
    lasting = replace(lift, end=None)
    book = PolicyBook([city, lasting])
    narrower = make_lift(revision=2, start=30, purposes=(6,))
    (replaced,) = find_restored(narrower, book, book.with_revisions([narrower]))
    assert (replaced.field, replaced.floor, replaced.start) == (LIFT, lasting.name, 30)
    gone = replace(lasting, withdraw_time=40)
    after = book.with_revisions([gone])
    (withdrawn,) = find_restored(gone, book, after, 40)
    assert (withdrawn.policy, withdrawn.start) == (city.name, 40)
    assert {(it.region, it.purpose) for it in find_changes(gone, book, after, 40)} >= {("410100", 4)}
    other = make_lift("other")
    assert find_restored(lift, PolicyBook([city, other]), PolicyBook([city, other, lift])) == []


def test_shortest_window_that_another_floor_covers_does_not_come_back() -> None:
    """A policy is reported only if no floor in force overrides it after the change."""
    city = make_revision(requirement=Requirement(Window(1, 24 * HOUR)))
    ending, longer, shorter = make_shortest(72, end=50), make_shortest(96, "longer"), make_shortest(48, "shorter")
    for others, expected in (([longer], []), ([shorter], [WINDOW]), ([], [WINDOW])):
        book = PolicyBook([city, *others])
        assert [it.field for it in find_restored(ending, book, book.with_revisions([ending]))] == expected


@given(seeds)
@settings(deadline=None, max_examples=60)
def test_what_comes_back_is_what_resolution_finds(seed: int) -> None:
    """A policy whose answers lose a lift or a basis by the withdrawal of a floor is reported."""
    choose = random.Random(seed)
    revisions = random_set(choose, 25)
    floors = [one for one in revisions if one.floor and one.withdraw_time is None]
    assume(floors)
    gone = replace(choose.choice(floors), withdraw_time=MONTH)
    book = PolicyBook(revisions)
    after = book.with_revisions([gone])
    told = {one.policy for one in find_restored(gone, book, after) if one.field in (LIFT, BASIS)}
    found = set()
    for at in instants(revisions):
        for region in ASKED:
            for purpose in PURPOSES:
                for origin in (SAME_PROVINCE, OTHER_PROVINCE):
                    was, now = (one.resolve_class(region, purpose, origin, at).effective for one in (book, after))
                    if was.governing == now.governing != "" and is_worse(was.requirement, now.requirement):
                        found.add(now.governing)
    assert found <= told
