"""Items of a policy against floors and guards: every accepted item has a window, of its own or the policy's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument
from services.policy.model import SAME_PROVINCE, AcceptedItem, Effective, Requirement, Revision, ShortestWindow, Window
from services.policy.rules.floors import BASIS, WINDOW
from services.policy.rules.guards import Publication, check_publication, find_overridden
from services.policy.rules.resolve import PolicyBook
from services.policy.rules.restored import find_restored
from tests.support.policy.factories import HOUR, make_revision

ANTIGEN, NUCLEIC_ACID = "items/sars-cov-2-antigen", "items/sars-cov-2-nucleic-acid"
EITHER = Requirement(
    Window(1, 48 * HOUR), accepted=(AcceptedItem(""), AcceptedItem("sars-cov-2-antigen", Window(1, 24 * HOUR)))
)
"""48 hours of nucleic acid or 24 hours of antigen."""
NOTICE = make_revision("000000", "notice", floor=True)
LEAST = make_revision("000000", "least", floor=True, requirement=Requirement(shortest=ShortestWindow(36 * HOUR)))


def publish(revision: Revision, *others: Revision) -> None:
    """Check a publication against published policies."""
    check_publication(Publication(revision, "000000", 0), PolicyBook(others))


def refused(revision: Revision, *others: Revision) -> list[tuple[str, str]]:
    """The fields and reasons of a refusal."""
    with pytest.raises(HutongError) as caught:
        publish(revision, *others)
    assert isinstance(caught.value, FailedPrecondition | InvalidArgument)
    return [(it.field, it.reason) for it in caught.value.violations]


def answer(*revisions: Revision) -> Effective:
    """Return the answer for hotels of a district of Zhengzhou."""
    return PolicyBook(revisions).resolve_class("410105", 4, SAME_PROVINCE, 10).effective


def test_policy_that_accepts_two_items_is_published() -> None:
    """One of the windows may count from the sampling, unless a floor says otherwise."""
    publish(make_revision(requirement=EITHER), NOTICE)
    sampled = replace(EITHER, accepted=(AcceptedItem("x", Window(2, 24 * HOUR)),))
    publish(make_revision(requirement=sampled))


def test_shortest_window_is_held_against_each_items_window() -> None:
    """36 hours at least: the antigen's 24 hours break it, the 48 hours of nucleic acid do not."""
    city = make_revision(requirement=EITHER)
    assert refused(city, LEAST) == [("policy.test_required.accepted[1].window", "POLICY_BREACH")]
    (override,) = find_overridden(city, PolicyBook([LEAST]))
    assert (override.field, override.item, override.stated) == (WINDOW, ANTIGEN, Window(1, 24 * HOUR))
    effective = answer(city, LEAST)
    assert effective.requirement == EITHER
    assert [(it.field, it.item) for it in effective.overrides] == [(WINDOW, ANTIGEN)]


def test_each_window_that_a_later_floor_overrides_is_told() -> None:
    """The answer names the window of the policy, and the window of each item with the item."""
    city = make_revision(requirement=replace(EITHER, window=Window(1, 24 * HOUR)))
    told = find_overridden(city, PolicyBook([replace(LEAST, start=10)]))
    assert [(it.field, it.item, it.start) for it in told] == [(WINDOW, "", 10), (WINDOW, ANTIGEN, 10)]


def test_refusal_names_the_item() -> None:
    """The text of the refusal names the item too."""
    with pytest.raises(FailedPrecondition) as caught:
        publish(make_revision(requirement=EITHER), LEAST)
    assert f"a result of {ANTIGEN} counts for at least 36 hours" in caught.value.violations[0].description


def test_window_of_the_policy_is_held_against_floors_where_an_item_uses_it() -> None:
    """If every accepted item has a window of its own, the policy's applies to none and breaks nothing."""
    short = Window(2, 24 * HOUR)
    own = tuple(AcceptedItem(item, Window(1, 48 * HOUR)) for item in ("", "x"))
    city = make_revision(requirement=Requirement(short, accepted=own))
    publish(city, NOTICE, LEAST)
    effective = answer(city, NOTICE, LEAST)
    assert effective.requirement == city.requirement
    assert effective.overrides == ()
    mixed = make_revision(requirement=Requirement(short, accepted=(*own, AcceptedItem("y"))))
    assert refused(mixed, NOTICE, LEAST) == [
        ("policy.test_required.window.basis", "POLICY_BREACH"),
        ("policy.test_required.window", "POLICY_BREACH"),
    ]


def test_report_time_of_a_floor_replaces_the_sample_time_of_each_window() -> None:
    """The overrides name the items. A window that counts from the report time already is unchanged."""
    sampled = Window(2, 24 * HOUR)
    asked = Requirement(
        sampled, accepted=(AcceptedItem("", sampled), AcceptedItem("x"), AcceptedItem("y", Window(1, HOUR)))
    )
    effective = answer(make_revision(requirement=asked), NOTICE)
    assert effective.requirement is not None
    assert [window.basis for _, window in effective.requirement.windows()] == [1, 1, 1]
    assert [(it.field, it.item) for it in effective.overrides] == [(BASIS, ""), (BASIS, NUCLEIC_ACID)]


def test_each_items_window_comes_back_when_a_floor_ends() -> None:
    """The answer names each item whose window comes back."""
    both = replace(EITHER, window=Window(1, 24 * HOUR))
    city, ending = make_revision(requirement=both), replace(LEAST, end=50)
    book = PolicyBook([city])
    restored = find_restored(ending, book, book.with_revisions([ending]))
    assert [(it.field, it.item, it.start) for it in restored] == [(WINDOW, "", 50), (WINDOW, ANTIGEN, 50)]


@pytest.mark.parametrize(
    ("requirement", "floor", "field"),
    [
        (Requirement(Window(1, HOUR), accepted=(AcceptedItem("x", Window(1)),)), False, "accepted[0].window.length"),
        (
            Requirement(Window(1, HOUR), accepted=(AcceptedItem("x", Window(1, 0)),)),
            False,
            "accepted[0].window.duration",
        ),
        (Requirement(Window(1, HOUR), adverse_window=0), False, "adverse_window"),
        (Requirement(Window(1), accepted=(AcceptedItem("x"),)), True, "accepted"),
        (Requirement(Window(1), adverse_items=("",)), True, "adverse_items"),
        (Requirement(Window(1), adverse_window=HOUR), True, "adverse_window"),
        (Requirement(Window(1), sampling_proof=HOUR), True, "sampling_proof_window"),
    ],
)
def test_fault_of_items_names_its_field(requirement: Requirement, floor: bool, field: str) -> None:
    """An own window needs a length of at least a microsecond; a floor states no items and no sampling records."""
    faulty = make_revision(requirement=requirement, floor=floor)
    assert refused(faulty) == [(f"policy.test_required.{field}", "INVALID_FIELD")]
