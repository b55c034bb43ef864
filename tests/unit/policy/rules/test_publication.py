"""Publication guards: every breach at once, each naming what it breaks."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from services.domain.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Violation
from services.domain.instant import MINUTE
from services.policy.model import (
    NOT_REQUIRED,
    OTHER_PROVINCE,
    SAME_PROVINCE,
    Requirement,
    Revision,
    ShortestWindow,
    Source,
    Window,
)
from services.policy.rules.floors import BASIS, CHANNELS, LIFT, WINDOW
from services.policy.rules.guards import (
    Publication,
    check_publication,
    check_publisher,
    check_withdrawal,
    find_overridden,
)
from services.policy.rules.impact import find_changes
from services.policy.rules.resolve import PolicyBook
from tests.support.policy.factories import HOUR, MONTH, PURPOSES, make_revision, random_set

NOW = 1_000 * HOUR
FLOOR = make_revision("000000", "notice-81", floor=True, start=100 * HOUR)
FROM_SAMPLING = Requirement(Window(2, 48 * HOUR))


def publish(revision: Revision, *others: Revision, jurisdiction: str = "000000") -> None:
    """Check a publication against published policies."""
    check_publication(Publication(revision, jurisdiction, NOW), PolicyBook(others))


def refused(revision: Revision, *others: Revision) -> FailedPrecondition:
    """The refusal of a publication."""
    with pytest.raises(FailedPrecondition) as caught:
        publish(revision, *others)
    return caught.value


def test_good_policy_is_let_through() -> None:
    """Counting from the report, in force beside the floor."""
    publish(make_revision(start=200 * HOUR), FLOOR)


@pytest.mark.parametrize(("start", "end"), [(100, None), (100, 101), (199, 300), (199, None)])
def test_floor_in_force_at_the_start_is_not_undercut(start: int, end: int | None) -> None:
    """However short the time in which both are in force."""
    late = None if end is None else end * HOUR
    floor = replace(FLOOR, end=200 * HOUR)
    error = refused(make_revision(requirement=FROM_SAMPLING, start=start * HOUR, end=late), floor)
    assert error.reason == "POLICY_BREACH"
    assert [violation.subject for violation in error.violations] == [floor.name]


def test_floor_that_begins_later_is_told_and_refuses_nothing() -> None:
    """If such a floor refused a policy, the order of publication would decide.

    A floor that begins later is reported with its start. A floor that is over is not reported.
    """
    policy = make_revision(requirement=FROM_SAMPLING, start=50 * HOUR)
    publish(policy, FLOOR)
    (override,) = find_overridden(policy, PolicyBook([FLOOR]))
    assert (override.field, override.floor, override.start) == (BASIS, FLOOR.name, 100 * HOUR)
    over = replace(FLOOR, end=200 * HOUR)
    late = replace(policy, start=200 * HOUR)
    publish(late, over)
    assert find_overridden(late, PolicyBook([over])) == []


FLOORS = {
    LIFT: make_revision("000000", "f", floor=True, requirement=NOT_REQUIRED),
    WINDOW: make_revision("000000", "f", floor=True, requirement=Requirement(shortest=ShortestWindow(49 * HOUR))),
    BASIS: FLOOR,
}


@pytest.mark.parametrize("field", FLOORS)
def test_each_breach_names_its_field_and_cites_the_floor(field: str) -> None:
    """A policy asks where a floor lifts, ends earlier than a shortest window, or counts from sampling."""
    floor = replace(FLOORS[field], source=Source(document_number="〔2022〕81"))
    (breach,) = refused(make_revision(requirement=FROM_SAMPLING, start=200 * HOUR), floor).violations
    assert (breach.field, breach.subject) == (f"policy.{field}", floor.name)
    assert f"{floor.name} (〔2022〕81)" in breach.description


def test_policy_that_asks_for_nothing_breaks_no_floor() -> None:
    """A policy without a requirement has no basis and no window to compare.

    A floor below another floor only adds to it.
    """
    publish(make_revision(requirement=NOT_REQUIRED, start=NOW), *FLOORS.values())
    publish(make_revision("410000", "g", floor=True, requirement=Requirement(), start=NOW), *FLOORS.values())


def test_policy_that_ends_before_the_floor_begins_is_let_through() -> None:
    """Half-open intervals that touch do not overlap."""
    publish(make_revision(requirement=FROM_SAMPLING, start=0, end=100 * HOUR), FLOOR)


def test_all_breaches_are_reported_at_once() -> None:
    """Two floors, a tie and a start in the past without a reason."""
    provincial = make_revision("410000", "floor", floor=True, start=150 * HOUR)
    other = make_revision(policy_id="other", purposes=(4,))
    error = refused(
        make_revision(requirement=FROM_SAMPLING, purposes=(4, 6), start=200 * HOUR, retroactive_reason=""),
        FLOOR,
        provincial,
        other,
    )
    assert sorted(violation.reason for violation in error.violations) == [
        "AMBIGUOUS",
        "POLICY_BREACH",
        "POLICY_BREACH",
        "RETROACTIVE",
    ]
    assert {violation.subject for violation in error.violations} >= {FLOOR.name, provincial.name, other.name}


@pytest.mark.parametrize(
    ("mine", "theirs", "ties"),
    [
        ({}, {}, True),
        ({"purposes": (4,)}, {"purposes": (4, 6)}, True),
        ({"purposes": (4,)}, {"purposes": (6,)}, False),
        ({"purposes": (4,)}, {}, False),
        ({"origin": SAME_PROVINCE}, {"origin": OTHER_PROVINCE}, False),
        ({"origin": SAME_PROVINCE}, {}, False),
        ({"start": 10, "end": 20}, {"start": 20}, False),
        ({"start": 10, "end": 21}, {"start": 20}, True),
        ({"region": "410000"}, {}, False),
        ({}, {"withdrawn": 5}, False),
        ({"floor": True}, {"floor": True}, False),
    ],
)
def test_tie_is_ambiguous(mine: dict[str, object], theirs: dict[str, object], ties: bool) -> None:
    """Two policies of a jurisdiction tie if both are in force, share a question, and none is more specific."""
    one = make_revision(**mine)  # type: ignore[arg-type]
    other = make_revision(policy_id="other", **theirs)  # type: ignore[arg-type]
    if ties:
        assert refused(one, other).reason == "AMBIGUOUS"
    else:
        publish(one, other)


def test_new_revision_does_not_tie_with_its_own_series() -> None:
    """The new revision takes the place of the older one."""
    publish(make_revision(revision=2, start=10), make_revision(revision=1))


@pytest.mark.parametrize(
    ("revision", "field"),
    [
        (make_revision("999999"), "policy.name"),
        (make_revision(start=10, end=10), "policy.effective_end_time"),
        (make_revision(requirement=Requirement(Window(1))), "policy.test_required.window.length"),
        (
            make_revision(floor=True, requirement=Requirement(Window(1, HOUR))),
            "policy.test_required.window.length",
        ),
        (make_revision(floor=True, requirement=Requirement(Window(2))), "policy.test_required.window.basis"),
        (
            make_revision(requirement=replace(FROM_SAMPLING, shortest=ShortestWindow(HOUR))),
            "policy.test_required.shortest_window",
        ),
        (
            make_revision(floor=True, requirement=Requirement(shortest=ShortestWindow(0))),
            "policy.test_required.shortest_window.duration",
        ),
        (make_revision(requirement=Requirement()), "policy.test_required.window.length"),
    ],
)
def test_faulty_policy_is_an_invalid_argument(revision: Revision, field: str) -> None:
    """A fault that does not depend on other policies names its field."""
    with pytest.raises(InvalidArgument) as caught:
        publish(revision)
    assert field in {violation.field for violation in caught.value.violations}


def test_start_in_the_past_needs_a_reason() -> None:
    """More than five minutes ago; a reason lets it through."""
    assert refused(make_revision(start=NOW - 5 * MINUTE - 1, retroactive_reason="")).reason == "RETROACTIVE"
    publish(make_revision(start=NOW - 5 * MINUTE, retroactive_reason=""))
    publish(make_revision(start=0, retroactive_reason="the notice was signed before it was sent"))


@pytest.mark.parametrize(
    ("region", "allowed"), [("410000", True), ("410105", True), ("370000", False), ("000000", False)]
)
def test_province_publishes_for_itself_and_below(region: str, allowed: bool) -> None:
    """A national floor is the nation's, another province's rule is theirs."""
    revision = make_revision(region, start=NOW)
    if allowed:
        publish(revision, jurisdiction="410000")
        return
    with pytest.raises(PermissionDenied) as caught:
        publish(revision, jurisdiction="410000")
    assert caught.value.reason == "NOT_PERMITTED"


def test_new_floor_tells_what_it_overrides_from_when() -> None:
    """Policies that stand are not refused; they are listed, from the instant both are in force."""
    standing = make_revision(requirement=FROM_SAMPLING, start=150 * HOUR)
    agreeing = make_revision("370000", start=150 * HOUR)
    publish(FLOOR, standing, agreeing)
    (override,) = find_overridden(FLOOR, PolicyBook([standing, agreeing]))
    assert (override.field, override.policy, override.start) == (BASIS, standing.name, 150 * HOUR)


def test_withdrawal_may_not_bring_a_tie_back() -> None:
    """The older revision would be in force again, beside a policy that was published since."""
    older = make_revision(revision=1, purposes=(4,))
    newer = make_revision(revision=2, purposes=(6,))
    other = make_revision(policy_id="other", purposes=(4,))
    with pytest.raises(FailedPrecondition) as caught:
        check_withdrawal(newer, PolicyBook([older, newer, other]))
    assert caught.value.reason == "AMBIGUOUS"
    assert caught.value.metadata["other"] == other.name
    check_withdrawal(newer, PolicyBook([older, newer]))
    check_withdrawal(older, PolicyBook([older, newer, other]))


def test_all_faults_of_a_policy_are_reported_at_once() -> None:
    """All faults are reported: its own, broken rules of the contract, a foreign place, a floor, a tie, a past start."""
    mine = make_revision(
        requirement=replace(FROM_SAMPLING, sampling_proof=0), start=200 * HOUR, end=100 * HOUR, retroactive_reason=""
    )
    others = [FLOOR, make_revision(policy_id="other")]
    broken = [Violation("policy.title", "INVALID_FIELD", "must be at least 1 character")]
    with pytest.raises(InvalidArgument) as caught:
        check_publication(Publication(mine, "370000", NOW), PolicyBook(others), broken)
    assert [(it.field, it.reason) for it in caught.value.violations] == [
        ("policy.title", "INVALID_FIELD"),
        ("policy.effective_end_time", "INVALID_FIELD"),
        ("policy.test_required.sampling_proof_window", "INVALID_FIELD"),
        ("policy.name", "NOT_PERMITTED"),
        ("policy.test_required.window.basis", "POLICY_BREACH"),
        ("policy.purposes", "AMBIGUOUS"),
        ("retroactive_reason", "RETROACTIVE"),
    ]


def test_a_foreign_policy_gets_its_breaches_too() -> None:
    """A province that publishes a national policy against the floor that stands hears of both."""
    against = make_revision("000000", "second", requirement=FROM_SAMPLING, start=NOW)
    with pytest.raises(PermissionDenied) as caught:
        publish(against, FLOOR, jurisdiction="410000")
    assert [it.reason for it in caught.value.violations] == ["NOT_PERMITTED", "POLICY_BREACH"]


def test_breach_cites_the_notice_and_the_revision() -> None:
    """With the notice and the revision, the authority can look up the rule."""
    floor = replace(FLOOR, source=Source(document_number="联防联控机制综发〔2022〕81号"))
    (breach,) = refused(make_revision(requirement=FROM_SAMPLING, start=200 * HOUR), floor).violations
    assert floor.name in breach.description
    assert "〔2022〕81号" in breach.description


@pytest.mark.parametrize("day", ["2022-02-30", "2022-13-01", "0000-01-01"])
def test_issue_date_is_a_day_of_the_calendar(day: str) -> None:
    """A day that never was is a fault."""
    with pytest.raises(InvalidArgument):
        publish(replace(make_revision(start=NOW), source=Source(issue_date=day)))


def test_new_floor_tells_of_channels_it_adds() -> None:
    """The answer names policies that list some channels but not all of the floor's.

    Policies without a list accept all.
    """
    floor = replace(FLOOR, channels=(1, 7))
    narrow, wide = make_revision(channels=(3,), start=NOW), make_revision("370000", start=NOW)
    (override,) = find_overridden(floor, PolicyBook([narrow, wide]))
    assert (override.field, override.stated, override.applied) == (CHANNELS, (3,), (1, 3, 7))


def test_impact_names_every_kind_of_question_that_changes() -> None:
    """Below the place too, where no closer rule governs; other purposes, places and instants are left out."""
    city, district = make_revision("410100", purposes=(4,), start=10), make_revision("410105", "d", purposes=(4,))
    school = make_revision("410106", "s", purposes=(8,))
    book = PolicyBook([district, school])
    after = book.with_revisions([city])
    changed = {(it.region, it.purpose, it.origin) for it in find_changes(city, book, after, 10)}
    assert changed == {(region, 4, origin) for region in ("410100", "410106") for origin in (2, 3)}
    assert list(find_changes(city, book, after, 9)) == []


def test_impact_of_a_revision_that_narrows_tells_what_is_left_without_a_rule() -> None:
    """Answers for what only the old revision covered change too."""
    old, new = make_revision(purposes=(4, 6)), make_revision(revision=2, purposes=(4,), start=5)
    book = PolicyBook([old])
    changed = {it.purpose for it in find_changes(new, book, book.with_revisions([new]), 5)}
    assert 6 in changed


@pytest.mark.parametrize("seed", range(60))
def test_impact_is_what_resolution_finds(seed: int) -> None:
    """Held against asking every question of both books."""
    choose = random.Random(seed)
    revisions = random_set(choose, 25)
    new, book = revisions[-1], PolicyBook(revisions[:-1])
    after = book.with_revisions([new])
    at = choose.randrange(MONTH)
    asked = [
        (region, purpose, origin)
        for region in sorted({new.region, *after.regions})
        for purpose in PURPOSES
        for origin in (SAME_PROVINCE, OTHER_PROVINCE)
        if book.resolve_class(region, purpose, origin, at).effective
        != after.resolve_class(region, purpose, origin, at).effective
    ]
    found = [(it.region, it.purpose, it.origin) for it in find_changes(new, book, after, at)]
    assert [it for it in found if it[1] in PURPOSES] == asked


CITY = make_revision("410100", start=1_000 * HOUR)
CITY_FLOOR = make_revision("410100", floor=True, start=1_000 * HOUR)


@pytest.mark.parametrize(
    ("revision", "known", "node"),
    [
        (CITY, [], "nodes/410100"),
        (replace(CITY, region="410105"), [], "nodes/410100"),
        (replace(CITY, region="410200"), [], None),
        (replace(CITY, region="410000"), [], None),
        (CITY_FLOOR, [], None),
        (CITY_FLOOR, [replace(CITY_FLOOR, node="410000", revision=2)], None),
        (CITY_FLOOR, [replace(CITY_FLOOR, node="410100", revision=2)], "nodes/410100"),
        (CITY_FLOOR, [replace(CITY, node="410000", revision=2)], "nodes/410100"),
        (replace(CITY, region="410000"), [replace(CITY_FLOOR, region="410000", node="000000")], "nodes/000000"),
    ],
)
def test_only_the_deepest_node_publishes(revision: Revision, known: list[Revision], node: str | None) -> None:
    """Floors come from each node that covers the region, but a series has one publisher. The refusal names it."""
    publication = Publication(revision, "410000", NOW, ["410100"])
    if node is None:
        check_publication(publication, PolicyBook(known))
        return
    with pytest.raises(FailedPrecondition) as caught:
        check_publication(publication, PolicyBook(known))
    assert (caught.value.reason, caught.value.metadata) == ("ANOTHER_NODE_PUBLISHES", {"node": node})


def test_a_floor_is_withdrawn_where_it_was_published() -> None:
    """The province withdraws its floor of the city's region, and neither the nation's nor the city's policy."""
    check_publisher(replace(CITY_FLOOR, node="410000"), "410000", ["410100"])
    check_publisher(replace(CITY, region="410200"), "410000", ["410100"])
    for revision in (CITY, replace(CITY_FLOOR, node="000000"), replace(CITY_FLOOR, node="410100")):
        with pytest.raises(FailedPrecondition):
            check_publisher(revision, "410000", ["410100"])
