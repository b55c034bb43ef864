"""The laws of test items in a decision (docs/decision.md §3, §6, §7), as properties of every world."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hypothesis import assume, given
from hypothesis import strategies as st

from services.domain.instant import HOUR, Instant
from services.verification.decision.decide import decide
from services.verification.decision.favour import favour
from services.verification.decision.items import item_rules
from services.verification.decision.model import (
    ACTIVE,
    INCONCLUSIVE,
    NATIONAL_RESULTS,
    NEGATIVE,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    REPORT_TIME,
    SOURCE_OK,
    AcceptedItem,
    Claim,
    Decision,
    EffectivePolicy,
    Evidence,
    Inputs,
    Record,
    Requirement,
    ShortestWindow,
    SourceStatus,
    Window,
)
from tests.support.verification.decision_inputs import (
    ANTIBODY,
    ANTIGEN,
    HEPATITIS,
    LABS,
    NOON,
    POLICY,
    RESULTS,
    random_inputs,
    random_record,
    random_window,
)

RECALLED = result_pb2.RESULT_STATE_RECALLED
USES = pb.EvidenceUse
NUCLEIC = ""
DAY_OF_ANTIGEN = Window(24 * HOUR, None, REPORT_TIME, includes_boundary=False)
RULE = Requirement(
    Window(48 * HOUR, None, REPORT_TIME, includes_boundary=False),
    None,
    refusal_permitted=True,
    accepted=(AcceptedItem(NUCLEIC), AcceptedItem(ANTIGEN, DAY_OF_ANTIGEN)),
)
"""48 hours of nucleic acid, or 24 hours of antigen."""
ANSWERED = tuple(SourceStatus(source, SOURCE_OK, NOON) for source in (RESULTS, NATIONAL_RESULTS, POLICY))


def _policy(rule: Requirement) -> EffectivePolicy:
    return EffectivePolicy("jurisdictions/410100/policies/venue@1", "", rule, (1, 2), ())


def _record(name: str, reported: Instant, item: str = NUCLEIC, outcome: Any = NEGATIVE) -> Record:
    sampled, lab = reported - HOUR, LABS[0]
    return Record(f"{lab}/results/{name}", 1, ACTIVE, lab, name, outcome, sampled, None, None, reported, 1, item)


def _decide(rule: Requirement, *records: Record, **more: Any) -> Decision:
    return decide(Inputs(NOON, NOON, _policy(rule), records, sources=ANSWERED)._replace(**more))


def _uses(decision: Decision) -> list[str]:
    return [USES.Name(one.use).removeprefix("EVIDENCE_USE_") for one in decision.considered]


def _required(inputs: Inputs) -> Requirement:
    """Return what the one policy of a world requires. Worlds with two policies are skipped."""
    assume(inputs.elsewhere is None)
    assert inputs.policy is not None
    assert inputs.policy.required is not None
    return inputs.policy.required


def _by(inputs: Inputs, required: Requirement) -> Decision:
    assert inputs.policy is not None
    return decide(inputs._replace(policy=inputs.policy._replace(required=required)))


worlds = (
    st.integers(0, 2**32)
    .map(lambda seed: random_inputs(Random(seed)))
    .filter(lambda world: world.policy is not None and world.policy.required is not None)
)


even_worlds = worlds.filter(
    lambda world: all(
        refusal_ground_pb2.REFUSAL_GROUND_POSITIVE_RESULT not in policy.forbidden_grounds
        for policy in (world.policy, world.elsewhere)
        if policy is not None
    )
)
"""Worlds without policies that forbid to refuse for a positive. Such a policy may permit it for a lack. Then a person
whose positive no longer stands may be refused who could not be before."""


@given(worlds, st.integers(0, 2**32))
def test_what_is_of_an_item_in_neither_list_changes_nothing(inputs: Inputs, seed: int) -> None:
    """A record, evidence of that item, and evidence whose record is of that item, found or not."""
    random = Random(seed)
    more = [random_record(random, number)._replace(item=HEPATITIS) for number in (30, 31)]
    found = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, more[0], 1)
    missing = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, 1)
    shown = [
        Evidence(
            7, more[0].lab, more[0].report_number, more[0].outcome, None, None, random.choice((NUCLEIC, HEPATITIS))
        ),
        Evidence(7, LABS[0], "X", random.choice((NEGATIVE, POSITIVE, PENDING)), NOON - HOUR, NOON, HEPATITIS),
    ]
    added = decide(
        inputs._replace(
            records=(*inputs.records, *more),
            evidence=(*inputs.evidence, *shown),
            claims=(*inputs.claims, found, missing),
            cut_items=(*inputs.cut_items, HEPATITIS),
        )
    )
    assert added._replace(considered=()) == decide(inputs)._replace(considered=())


@given(even_worlds, st.integers(0, 40), st.integers(0, 2))
def test_one_more_valid_negative_of_any_item_is_never_worse(inputs: Inputs, hours: int, which: int) -> None:
    """The item is an accepted one, an adverse one or another one. Compared are outcome, expiry and refusal."""
    issued = min(inputs.use_time, NOON) - hours * HOUR
    more = _record("MORE", issued, (NUCLEIC, ANTIGEN, ANTIBODY)[which])
    assert favour(decide(inputs._replace(records=(*inputs.records, more)))) <= favour(decide(inputs))


@given(worlds, st.integers(0, 2**32))
def test_one_more_accepted_item_is_never_worse(inputs: Inputs, seed: int) -> None:
    """If the adverse items stay the same ones."""
    random, required = Random(seed), _required(inputs)
    rules = item_rules(required)
    accepted = [*(AcceptedItem(item, window) for item, window in rules.accepted.items())]
    assume(ANTIGEN not in rules.accepted)
    accepted.insert(random.randint(0, len(accepted)), AcceptedItem(ANTIGEN, random_window(random)))
    more = required._replace(accepted=tuple(accepted), adverse_items=tuple(rules.ranks))
    assert favour(_by(inputs, more)) <= favour(_by(inputs, required))


@given(even_worlds)
def test_the_last_adverse_item_less_is_never_worse(inputs: Inputs) -> None:
    """The last adverse item's negatives clear no other item's positives.

    An earlier item's negatives do, so the law is not true of every item. The law is about records, because evidence of
    an item may contradict its record, and a policy may forbid to refuse for that.
    """
    required = _required(inputs)
    inputs = inputs._replace(evidence=(), claims=())
    ranks = tuple(item_rules(required).ranks)
    assume(len(ranks) > 1)
    named, fewer = required._replace(adverse_items=ranks), required._replace(adverse_items=ranks[:-1])
    assert favour(_by(inputs, fewer)) <= favour(_by(inputs, named))


@given(even_worlds, st.integers(1, 96))
def test_a_shorter_adverse_window_is_never_worse(inputs: Inputs, hours: int) -> None:
    required = _required(inputs)
    longer = required.adverse_window
    shorter = hours * HOUR if longer is None else min(longer, hours * HOUR)
    assert favour(_by(inputs, required._replace(adverse_window=shorter))) <= favour(_by(inputs, required))


@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_accepted_items_is_without_effect(inputs: Inputs, random: Random) -> None:
    """The order matters only as the order of the adverse items, if these are not listed."""
    required = _required(inputs)
    listed = required._replace(adverse_items=tuple(item_rules(required).ranks))
    accepted = list(required.accepted)
    random.shuffle(accepted)
    one, other = _by(inputs, listed), _by(inputs, listed._replace(accepted=tuple(accepted)))
    assert one._replace(policy=None) == other._replace(policy=None)


@given(worlds)
def test_lists_that_say_what_empty_ones_mean_change_nothing(inputs: Inputs) -> None:
    """Empty: the default item alone is accepted, and the accepted items are adverse in their order."""
    required = _required(inputs)
    accepted = required.accepted or (AcceptedItem(NUCLEIC, required.window),)
    adverse = required.adverse_items or tuple(one.item for one in accepted)
    full = _by(inputs, required._replace(accepted=accepted, adverse_items=adverse))
    assert full._replace(policy=None) == _by(inputs, required)._replace(policy=None)


@pytest.mark.parametrize(
    ("adverse", "clears"),
    [
        ((), (True, False)),
        ((ANTIGEN, NUCLEIC), (False, True)),
        ((NUCLEIC,), (True, False)),
        ((ANTIGEN,), (False, True)),
    ],
)
def test_an_antigen_negative_clears_no_nucleic_acid_positive(
    adverse: tuple[str, ...], clears: tuple[bool, bool]
) -> None:
    """Unless the list puts antigen first. An item outside the list stands against nobody and clears no other."""
    rule = RULE._replace(adverse_items=adverse)
    listed = adverse or (NUCLEIC, ANTIGEN)
    for positive, negative, is_cleared in ((ANTIGEN, NUCLEIC, clears[0]), (NUCLEIC, ANTIGEN, clears[1])):
        records = _record("P", NOON - 9 * HOUR, positive, POSITIVE), _record("N", NOON - HOUR, negative)
        decision = _decide(rule, *records)
        stands = positive in listed and not (is_cleared and negative in listed)
        assert decision.reason == (pb.DECISION_REASON_POSITIVE_RESULT if stands else pb.DECISION_REASON_VALID)
        assert decision.item == (positive if stands else negative)


def test_each_accepted_item_has_its_own_window() -> None:
    """30 hours old: nucleic acid counts and antigen has expired. A floor's shortest window holds for each."""
    old = NOON - 30 * HOUR
    assert _decide(RULE, _record("N", old)).reason == pb.DECISION_REASON_VALID
    antigen = _decide(RULE, _record("A", old, ANTIGEN))
    assert (antigen.reason, antigen.item) == (pb.DECISION_REASON_EXPIRED, ANTIGEN)
    assert antigen.expire_time == old + 24 * HOUR
    floor = RULE._replace(shortest_windows=(ShortestWindow(36 * HOUR, None, includes_boundary=False),))
    assert _decide(floor, _record("A", old, ANTIGEN)).expire_time == old + 36 * HOUR
    without_own = RULE._replace(accepted=(AcceptedItem(ANTIGEN),))
    assert _decide(without_own, _record("A", old, ANTIGEN)).expire_time == old + 48 * HOUR
    assert _uses(_decide(without_own, _record("N", old))) == ["OTHER_ITEM"]


def test_an_adverse_item_that_is_not_accepted_only_stands_or_clears() -> None:
    """A negative and a sampling record of such an item satisfy nothing, and no result of the item explains a lack."""
    rule = Requirement(RULE.window, 24 * HOUR, refusal_permitted=True, adverse_items=(ANTIGEN, NUCLEIC))
    lack = pb.DECISION_REASON_NO_RESULT
    sampled = _record("S", NOON, ANTIGEN)._replace(outcome=PENDING, report_time=None)
    ahead = _record("F", NOON + HOUR, ANTIGEN)._replace(sample_time=NOON - HOUR)
    for record in (_record("A", NOON - HOUR, ANTIGEN), sampled, _record("O", NOON - 99 * HOUR, ANTIGEN)):
        decision = _decide(rule, record)
        assert (decision.reason, _uses(decision)) == (lack, ["ITEM_NOT_ACCEPTED"])
    recalled = _record("R", NOON - HOUR, ANTIGEN)._replace(state=RECALLED)
    for record in (ahead, recalled, recalled._replace(state=ACTIVE, outcome=INCONCLUSIVE)):
        assert _decide(rule, record).reason == lack
    positive = _record("P", NOON - 9 * HOUR, NUCLEIC, POSITIVE)
    assert _uses(_decide(rule, positive, _record("A", NOON - HOUR, ANTIGEN))) == ["ITEM_NOT_ACCEPTED", "CLEARED"]


def test_a_positive_that_does_not_stand_does_not_count_either() -> None:
    """The positive is of an accepted item that is not adverse, or of an adverse item after the adverse window."""
    only_nucleic = RULE._replace(adverse_items=(NUCLEIC,))
    positive = _record("P", NOON - 9 * HOUR, ANTIGEN, POSITIVE)
    decision = _decide(only_nucleic, positive)
    assert (decision.reason, _uses(decision)) == (pb.DECISION_REASON_NO_RESULT, ["NOT_ADVERSE"])
    for hours, reason in ((10, pb.DECISION_REASON_NO_RESULT), (11, pb.DECISION_REASON_POSITIVE_RESULT)):
        assert _decide(RULE._replace(adverse_window=hours * HOUR), positive).reason == reason


def test_the_weightiest_positive_is_named() -> None:
    """Whichever was sampled last; a positive of any item before a positive pool."""
    antigen, nucleic = (_record(item or "n", NOON - 9 * HOUR, item, POSITIVE) for item in (ANTIGEN, NUCLEIC))
    for earlier in (antigen, nucleic):
        first = earlier._replace(sample_time=earlier.sample_time - HOUR)
        other = nucleic if earlier is antigen else antigen
        assert _decide(RULE, first, other).item == NUCLEIC
    pool = nucleic._replace(outcome=POOL_POSITIVE)
    assert (_decide(RULE, antigen, pool).item, _decide(RULE, antigen, pool).reason) == (
        ANTIGEN,
        pb.DECISION_REASON_POSITIVE_RESULT,
    )


def test_evidence_counts_by_its_own_item() -> None:
    """Shown as nucleic acid while its record is of antigen, it has no effect, also where both are accepted."""
    record = _record("A", NOON - 30 * HOUR, ANTIGEN)
    shown = Evidence(7, LABS[0], "A", NEGATIVE, None, NOON - 30 * HOUR)
    found = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, record, 1)
    mistaken = _decide(RULE, evidence=(shown,), claims=(found,))
    assert (mistaken.reason, _uses(mistaken)) == (pb.DECISION_REASON_EXPIRED, ["EXPIRED", "OTHER_ITEM"])
    missing = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, 1)
    antigen = shown._replace(item=ANTIGEN, report_time=NOON - HOUR)
    decision = _decide(RULE, evidence=(antigen,), claims=(missing,))
    assert (decision.basis, decision.item) == (pb.DECISION_BASIS_PRESENTED, ANTIGEN)
    assert decision.expire_time == NOON + 23 * HOUR


def test_a_cut_of_one_item_hides_nothing_of_another() -> None:
    assert _decide(RULE, cut_items=(ANTIGEN,)).reason == pb.DECISION_REASON_HISTORY_CUT
    nucleic_alone = RULE._replace(accepted=(), adverse_items=(NUCLEIC, ANTIGEN))
    assert _decide(nucleic_alone, cut_items=(ANTIGEN,)).reason == pb.DECISION_REASON_NO_RESULT
