"""Resolution is what docs/policy.md says: held against a naive model, and by its laws."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.policy.model import (
    NOT_REQUIRED,
    OTHER_PROVINCE,
    SAME_PROVINCE,
    UNKNOWN_ORIGIN,
    Answer,
    AnswerByOrigin,
    Effective,
    Requirement,
    Revision,
    Window,
)
from services.policy.rules.floors import BASIS, CHANNELS, LIFT, WINDOW
from services.policy.rules.resolve import PolicyBook, origin_class
from tests.support.policy import naive_resolution
from tests.support.policy.factories import ASKED, HOUR, MONTH, PURPOSES, instants, make_revision, random_set

CASES = int(os.environ.get("MODEL_CASES", "5000"))
"""Questions held against the naive model; `make soak-model` asks 1,000,000, seeded all the same."""
QUESTIONS_A_SET = 10


WORDS = {BASIS: "basis", WINDOW: "window", LIFT: "lift", CHANNELS: "channels"}


def told(effective: Effective, channels_of_all: bool) -> naive_resolution.NaiveAnswer:
    """Our answer in the model's words."""
    requirement = effective.requirement or NOT_REQUIRED
    is_test = requirement.is_test
    asks = naive_resolution.NO_POLICY
    if effective.requirement is not None:
        asks = naive_resolution.ASKED if is_test else naive_resolution.NOTHING
    if effective.lifting_floor and asks == naive_resolution.NOTHING:
        asks = naive_resolution.LIFTED
    return naive_resolution.NaiveAnswer(
        effective.governing,
        effective.floors,
        asks,
        tuple((item, window) for item, window, _ in naive_resolution.accepts(requirement)) if is_test else (),
        (requirement.adverse_items, requirement.adverse_window) if is_test else ((), None),
        None if not effective.channels and channels_of_all else frozenset(effective.channels),
        frozenset(effective.forbidden_grounds),
        effective.lifting_floor,
        frozenset((one.floor, one.shortest) for one in effective.shortest_windows),
        frozenset((one.floor, WORDS[one.field], one.item) for one in effective.overrides),
    )


def each_answer(answer: Answer | AnswerByOrigin) -> list[Answer]:
    """The one answer, or that of each class."""
    return [answer.same_province, answer.other_province] if isinstance(answer, AnswerByOrigin) else [answer]


def test_agrees_with_the_naive_model() -> None:
    """Histories of publications and withdrawals are random. Questions are about what is known now or was known once."""
    choose = random.Random(81)
    for _ in range(max(1, CASES // QUESTIONS_A_SET)):
        size = choose.randrange(1, 40)
        revisions = random_set(choose, size)
        known = choose.choice((None, choose.randrange(size + 1)))
        book = PolicyBook(revisions, known)
        for _ in range(QUESTIONS_A_SET):
            region, purpose = choose.choice(ASKED), choose.choice(PURPOSES)
            arriving_from = choose.choice(("", "000000", "410000", "370200", "220500"))
            at = choose.choice((choose.randrange(-1, 2 * MONTH), choose.choice([0, *instants(revisions)])))
            question = (region, purpose, arriving_from, at)
            expected, forbidden = naive_resolution.resolve_all(revisions, *question, known)
            answer = book.resolve(*question)
            effectives = [one.effective for one in each_answer(answer)]
            assert [told(one, bool(one.governing)) for one in effectives] == expected, (*question, known)
            grounds = (
                answer.forbidden_grounds if isinstance(answer, AnswerByOrigin) else effectives[0].forbidden_grounds
            )
            assert frozenset(grounds) == forbidden


@pytest.mark.parametrize("seed", range(20))
def test_book_that_grew_answers_as_one_made_at_once(seed: int) -> None:
    """Revision by revision, asked in between so that timelines are shared; a withdrawal takes its revision's place."""
    choose = random.Random(seed)
    revisions = random_set(choose, 30)
    grown, standing = PolicyBook(), dict[str, Revision]()
    for revision in revisions:
        for one in (replace(revision, withdraw_time=None), revision):
            grown = grown.with_revisions([one])
            standing[one.name] = one
            at_once = PolicyBook(standing.values())
            for region in ASKED:
                for purpose in PURPOSES:
                    for origin in (SAME_PROVINCE, OTHER_PROVINCE):
                        question = (region, purpose, origin, choose.randrange(2 * MONTH))
                        assert grown.resolve_class(*question) == at_once.resolve_class(*question)


def test_publication_leaves_the_timelines_of_other_places_alone() -> None:
    """The answers of another province are the same objects after it; those below the place are made anew."""
    book = PolicyBook([make_revision("410100"), make_revision("370100"), make_revision("410105", "district")])
    before = [book.resolve_class(region, 1, SAME_PROVINCE, 0) for region in ("370100", "410105")]
    after = book.with_revisions([make_revision("410000", "province", purposes=(6,))])
    assert after.resolve_class("370100", 1, SAME_PROVINCE, 0) is before[0]
    assert after.resolve_class("410105", 1, SAME_PROVINCE, 0) is not before[1]
    assert book.series("410000", "province") == ()


policy_sets = st.builds(
    lambda seed, size: random_set(random.Random(seed), size), st.integers(0, 10**9), st.integers(1, 15)
)
questions = st.tuples(
    st.sampled_from(ASKED), st.sampled_from(PURPOSES), st.sampled_from((SAME_PROVINCE, OTHER_PROVINCE))
)


@given(policy_sets, questions, st.integers(-5, 2 * MONTH))
@settings(deadline=None)
def test_interval_is_constant_inside_and_cannot_be_widened(
    revisions: list[Revision], question: tuple[str, int, int], at: int
) -> None:
    """Every instant of [start, end) has the same answer; the instants just outside have another."""
    book = PolicyBook(revisions)
    answer = book.resolve_class(*question, at)
    assert answer.start is None or answer.start <= at
    assert answer.end is None or at < answer.end
    for instant in range(-6, 2 * MONTH + 5):
        inside = (answer.start is None or answer.start <= instant) and (answer.end is None or instant < answer.end)
        if inside:
            assert book.resolve_class(*question, instant).effective == answer.effective
    if answer.start is not None:
        assert book.resolve_class(*question, answer.start - 1).effective != answer.effective
    if answer.end is not None:
        assert book.resolve_class(*question, answer.end).effective != answer.effective


@given(policy_sets, st.sampled_from(ASKED), st.sampled_from(PURPOSES), st.integers(-5, 2 * MONTH))
@settings(deadline=None)
def test_unknown_origin_is_answered_by_both_classes(
    revisions: list[Revision], region: str, purpose: int, at: int
) -> None:
    """One answer if the classes agree, otherwise both, with united grounds and the intersection of their intervals."""
    book = PolicyBook(revisions)
    same, other = (book.resolve_class(region, purpose, origin, at) for origin in (SAME_PROVINCE, OTHER_PROVINCE))
    answer = book.resolve(region, purpose, "", at)
    assert answer == book.resolve(region, purpose, "000000", at)
    if isinstance(answer, AnswerByOrigin):
        assert same.effective != other.effective
        assert (answer.same_province, answer.other_province) == (same, other)
        assert set(answer.forbidden_grounds) == {*same.effective.forbidden_grounds, *other.effective.forbidden_grounds}
    else:
        assert answer.effective == same.effective == other.effective
    for instant in range(-6, 2 * MONTH + 5):
        inside = (answer.start is None or answer.start <= instant) and (answer.end is None or instant < answer.end)
        in_both = all(
            (one.start is None or one.start <= instant) and (one.end is None or instant < one.end)
            for one in (same, other)
        )
        assert inside == in_both


def test_origin_is_unknown_only_if_it_is_not_given() -> None:
    """Nothing, and the whole country, are no origin; a place of the same province is one."""
    told_origins = [origin_class("220502", origin) for origin in ("", "000000", "220100", "410100")]
    assert told_origins == [UNKNOWN_ORIGIN, UNKNOWN_ORIGIN, SAME_PROVINCE, OTHER_PROVINCE]


@given(policy_sets, questions, st.integers(-5, 2 * MONTH), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_publication_is_without_effect(
    revisions: list[Revision], question: tuple[str, int, int], at: int, shuffle: random.Random
) -> None:
    """The same set in any order answers the same."""
    shuffled = list(revisions)
    shuffle.shuffle(shuffled)
    assert PolicyBook(shuffled).resolve_class(*question, at) == PolicyBook(revisions).resolve_class(*question, at)


def test_governing_names_what_was_replaced() -> None:
    """A floor that came later replaces the basis of a policy that stood before, and says so."""
    lower = make_revision(requirement=Requirement(Window(2, 48 * HOUR)), channels=(3,))
    floor = make_revision("000000", "notice", floor=True, channels=(1, 7), grounds=(1, 2), start=10)
    before, after = (
        PolicyBook([lower, floor]).resolve_class("410105", 4, SAME_PROVINCE, at).effective for at in (9, 10)
    )
    assert before.requirement is not None
    assert before.requirement.window.basis == 2
    assert before.overrides == ()
    assert after.requirement is not None
    assert after.requirement.window.basis == 1
    assert [(override.field, override.floor) for override in after.overrides] == [
        (BASIS, floor.name),
        ("channels", floor.name),
    ]
    assert after.channels == (1, 3, 7)
    assert after.forbidden_grounds == (1, 2)


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        ([make_revision("000000", "n"), make_revision("410000", "p"), make_revision("410100", "c")], "410100"),
        ([make_revision("000000", "n"), make_revision("410000", "p")], "410000"),
        ([make_revision("000000", "n"), make_revision("370000", "p")], "000000"),
        ([make_revision("410105", "d", purposes=(6,)), make_revision("410100", "c")], "410100"),
    ],
)
def test_nearest_jurisdiction_that_speaks_governs(revisions: list[Revision], expected: str) -> None:
    """District before city before province before nation, of those that cover the purpose."""
    effective = PolicyBook(revisions).resolve_class("410105", 4, SAME_PROVINCE, 0).effective
    assert effective.governing.startswith(f"jurisdictions/{expected}/")


def test_named_purpose_and_exact_origin_come_first() -> None:
    """Inside a jurisdiction: a named purpose before all purposes, an exact origin before any."""
    everything = make_revision(policy_id="all")
    hotel = make_revision(policy_id="hotel", purposes=(4,))
    outside = make_revision(policy_id="hotel-outside", purposes=(4,), origin=OTHER_PROVINCE)
    book = PolicyBook([everything, hotel, outside])
    assert book.resolve_class("410105", 1, SAME_PROVINCE, 0).effective.governing == everything.name
    assert book.resolve_class("410105", 4, SAME_PROVINCE, 0).effective.governing == hotel.name
    assert book.resolve_class("410105", 4, OTHER_PROVINCE, 0).effective.governing == outside.name


def test_nothing_of_a_series_is_in_force_after_its_newest_revision_ended() -> None:
    """An older revision does not come back."""
    book = PolicyBook([make_revision(revision=1), make_revision(revision=2, start=10, end=20)])
    governing = [book.resolve_class("410100", 1, SAME_PROVINCE, at).effective.governing[-2:] for at in (9, 10, 19, 20)]
    assert governing == ["@1", "@2", "@2", ""]


def test_withdrawing_all_leaves_an_explicit_answer() -> None:
    """No requirement, no governing policy, for all time."""
    answer = PolicyBook([make_revision(withdrawn=5)]).resolve_class("410100", 1, SAME_PROVINCE, 7)
    assert answer.effective.requirement is None
    assert (answer.effective.governing, answer.start, answer.end) == ("", None, None)


def test_as_of_time_answers_with_what_was_known_then() -> None:
    """A publication counts from its own instant, a withdrawal ends it from its own."""
    revisions = [make_revision(published=10, withdrawn=20)]
    known = [
        bool(PolicyBook(revisions, at).resolve_class("410100", 1, SAME_PROVINCE, 50).effective.governing)
        for at in (9, 10, 19, 20)
    ]
    assert known == [False, True, True, False]
