"""Tests what of a decision's evidence is remembered and flagged."""

from __future__ import annotations

import pytest
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    ClaimedReportMatch,
)
from hutong.verification.v1.decision_pb2 import DecisionInputs
from hutong.verification.v1.evidence_pb2 import PresentedEvidence

from services.domain.instant import HOUR, shanghai_day
from services.domain.subject import Pepper
from services.runtime.call import Call
from services.runtime.caller import Caller
from services.verification.decision.decide import decide
from services.verification.showings.examine import KeptDecision, find_showings, flag_alone
from services.verification.showings.model import LAB_NOT_REGISTERED, NUMBER_WITHOUT_DIGIT, Showing
from services.verification.showings.shares import OTHER, UNKNOWN, Shares
from services.verification.verify.inputs import inputs_from_proto
from tests.support.golden.messages import HOURS_48, NOON, make_claim, make_inputs, make_paper, make_policy, make_record

NOT_FOUND = CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
KEPT = KeptDecision("uuid", "410105", [(Pepper(b"p" * 32), b"k" * 16)])
SAMPLED, REPORTED = NOON - 9 * HOUR, NOON - HOUR


def paper_inputs(shown: PresentedEvidence) -> DecisionInputs:
    return make_inputs(make_policy(HOURS_48), shown=[(shown, make_claim(NOT_FOUND))])


def claim(state: int = NOT_FOUND, **fields: str) -> ClaimedReportMatch:
    return ClaimedReportMatch(state=state, **fields)  # type: ignore[arg-type]


def showings_of(message: object, *claims: ClaimedReportMatch | None) -> tuple[Showing, ...]:
    inputs = inputs_from_proto(message)  # type: ignore[arg-type]
    return find_showings(KEPT, decide(inputs), inputs, claims)


def test_what_is_weighed_is_remembered_with_its_day_and_place() -> None:
    """The laboratory is the one that Results found by its name."""
    shown = make_paper("R1", SAMPLED, REPORTED, lab="", lab_name="检验所")
    (one,) = showings_of(paper_inputs(shown), claim(lab="labs/91410100MA0000001X", lab_region="410100"))
    assert (one.lab, one.report_number, one.is_identified, one.is_certain) == ("91410100MA0000001X", "R1", True, False)
    assert (one.decision, one.region, one.day, one.kinds) == ("uuid", "410105", shanghai_day(NOON), frozenset())
    assert len(one.tags) == 1


def test_each_version_of_the_pepper_has_its_hashes() -> None:
    old = Pepper(b"o" * 32)
    kept = KEPT._replace(subject_keys=[(Pepper(b"n" * 32, 2, old), b"n" * 16), (old, b"o" * 16)])
    inputs = inputs_from_proto(paper_inputs(make_paper("R1", SAMPLED, REPORTED)))
    (one,) = find_showings(kept, decide(inputs), inputs, [claim()])
    assert [tags.version for tags in one.tags] == [2, 1]


def test_what_agrees_with_its_record_is_certain_and_not_flagged() -> None:
    record = make_record("ABC", SAMPLED, REPORTED)
    inputs = paper_inputs(make_paper("ABC", SAMPLED, REPORTED))
    inputs.records.append(record)
    (one,) = showings_of(inputs, claim(3))
    assert (one.is_certain, one.kinds) == (True, frozenset())


def test_what_is_not_weighed_is_not_remembered() -> None:
    """Evidence is not weighed if no result is required, or if the evidence is of another item."""
    shown = make_paper("ABC", SAMPLED, REPORTED)
    assert not showings_of(make_inputs(make_policy(), shown=[(shown, make_claim(NOT_FOUND))]), claim())
    shown.item = "items/hepatitis-b"
    assert not showings_of(paper_inputs(shown), None)


@pytest.mark.parametrize(
    ("fields", "has_nation", "expected"),
    [
        ({}, True, {LAB_NOT_REGISTERED}),
        ({}, False, set()),
        ({"lab_region": "410100"}, True, set()),
        ({"lab_standing": lab_pb2.LAB_STANDING_REVOKED}, True, set()),
        ({"state": CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON}, True, set()),
    ],
)
def test_a_laboratory_is_flagged_only_if_every_register_answered(
    fields: dict[str, object], has_nation: bool, expected: set[int]
) -> None:
    """An absent fact is never adverse. A revoked laboratory is registered."""
    evidence = inputs_from_proto(paper_inputs(make_paper("R1", SAMPLED, REPORTED))).evidence[0]
    found = flag_alone(evidence, ClaimedReportMatch(**fields), has_nation=has_nation)  # type: ignore[arg-type]
    assert found == expected
    assert not flag_alone(evidence, None, has_nation=True)
    assert flag_alone(evidence._replace(report_number="ABC"), None, has_nation=False) == {NUMBER_WITHOUT_DIGIT}


def test_recognitions_are_counted_by_laboratory_and_by_gate_within_a_limit() -> None:
    """A laboratory without registration has no name of its own, so that nobody can fill the metric."""
    shares = Shares(limit=2)
    call = Call("test")
    call.caller = Caller("gate", "gates/410105/1")
    registered = claim(lab="labs/91410100MA0000001X", lab_region="410100")
    for found in (registered, claim(), registered):
        inputs = inputs_from_proto(paper_inputs(make_paper("R1", SAMPLED, REPORTED)))
        shares.count(decide(inputs), inputs, [found], call)
    recorded = make_inputs(make_policy(HOURS_48), records=[make_record("R1", SAMPLED, REPORTED, lab="labs/other")])
    inputs = inputs_from_proto(recorded)
    shares.count(decide(inputs), inputs, [], call)
    shares.count(decide(inputs), inputs, [], None)
    by_lab, by_gate = (
        {tuple(sample.labels.values()): sample.value for sample in family.samples if sample.value}
        for family in shares.collect()
    )
    presented, record = "presented", "record"
    assert by_lab == {("91410100MA0000001X", presented): 2, (UNKNOWN, presented): 1, (OTHER, record): 1}
    assert by_gate == {("gates/410105/1", presented): 3, ("gates/410105/1", record): 1}
