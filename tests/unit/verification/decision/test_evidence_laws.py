"""The laws of evidence (docs/decision.md §4), as properties of every world."""

from __future__ import annotations

from random import Random

import pytest
from hutong.results.v1 import lab_pb2, next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hypothesis import example, given
from hypothesis import strategies as st

from services.domain.instant import DAY, HOUR, MINUTE
from services.verification.decision.decide import decide
from services.verification.decision.favour import favour
from services.verification.decision.model import (
    ACTIVE,
    INCONCLUSIVE,
    NATIONAL_RESULTS,
    NEGATIVE,
    NOT_COMPARABLE,
    NOT_FOUND,
    NOT_OURS,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    REPORT_TIME,
    SAMPLE_TIME,
    SOURCE_OK,
    Claim,
    Decision,
    EffectivePolicy,
    Evidence,
    Inputs,
    LabAnswer,
    Record,
    Requirement,
    SourceStatus,
    Window,
)
from tests.support.verification.decision_inputs import LABS, NAMES, NOON, POLICY, RESULTS, TO_FOLLOW, random_inputs

worlds = st.integers(0, 2**32).map(lambda seed: random_inputs(Random(seed)))
shown_worlds = worlds.filter(lambda inputs: bool(inputs.evidence))
AUTHORIZED, SUSPENDED = lab_pb2.LAB_STANDING_AUTHORIZED, lab_pb2.LAB_STANDING_SUSPENDED
EXAMINE = next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE
DENIED = LabAnswer(NOT_OURS, NOON - HOUR)
TO_COME = LabAnswer(TO_FOLLOW, NOON - HOUR, NOON + HOUR)
UNKNOWN_LAB = Claim(NOT_COMPARABLE, None, lab_pb2.LAB_STANDING_UNSPECIFIED)
MISSING = Claim(NOT_FOUND, None, AUTHORIZED, None, LABS[0])
SOURCES = (
    SourceStatus(RESULTS, SOURCE_OK, NOON),
    SourceStatus(NATIONAL_RESULTS, SOURCE_OK, NOON),
    SourceStatus(POLICY, SOURCE_OK, NOON),
)
PAPER = Evidence(7, "", "R1", NEGATIVE, NOON - 8 * HOUR, NOON - 6 * HOUR, lab_name="检验所甲")


def _venue(basis: int = REPORT_TIME, proof: int | None = None) -> EffectivePolicy:
    window = Window(48 * HOUR, None, basis, includes_boundary=False)  # type: ignore[arg-type]
    return EffectivePolicy("jurisdictions/410100/policies/venue@1", "", Requirement(window, proof, True), (), ())


def _decide(shown: Evidence, claim: Claim, *records: Record, policy: EffectivePolicy | None = None) -> Decision:
    return decide(Inputs(NOON, NOON, policy or _venue(), records, (shown,), (claim,), SOURCES))


def _record(report: str, hours: int, outcome: int = NEGATIVE) -> Record:
    """Return a record of LABS[0], sampled two hours before its report, which was `hours` ago."""
    reported = NOON - hours * HOUR
    times = (reported - 2 * HOUR, None, None, None if outcome == PENDING else reported)
    return Record(f"{LABS[0]}/results/{report}", 1, ACTIVE, LABS[0], report, outcome, *times, AUTHORIZED)  # type: ignore[arg-type]


def _uses(decision: Decision) -> list[str]:
    return [pb.EvidenceUse.Name(one.use).removeprefix("EVIDENCE_USE_") for one in decision.considered]


def _reason(decision: Decision) -> str:
    return pb.DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_")


@given(shown_worlds)
def test_evidence_is_never_worse_than_none(inputs: Inputs) -> None:
    """The records being the same: what evidence brings to light counts as any record."""
    brought = [claim.record for claim in inputs.claims if claim.record is not None]
    brought += [record for claim in inputs.claims for record in claim.possible]
    if inputs.own_records_alone:
        brought = []
    without = inputs._replace(records=(*inputs.records, *brought), evidence=(), claims=())
    assert favour(decide(inputs)) <= favour(decide(without))


@given(shown_worlds)
def test_a_name_of_one_laboratory_is_as_good_as_its_code(inputs: Inputs) -> None:
    """All but the echo of what was shown is the same."""
    names = {lab: name for name, lab in NAMES.items() if lab}
    claims = tuple(claim._replace(lab=shown.lab) for claim, shown in zip(inputs.claims, inputs.evidence, strict=True))
    by_name = tuple(
        shown._replace(lab="", lab_name=names[shown.lab]) if shown.lab else shown for shown in inputs.evidence
    )
    by_code = decide(inputs._replace(claims=claims))
    named = decide(inputs._replace(claims=claims, evidence=by_name))
    assert favour(named) == favour(by_code)
    assert (named.reason, named.result, named.basis) == (by_code.reason, by_code.result, by_code.basis)
    assert set(named.next_steps) == set(by_code.next_steps)
    assert sorted(_uses(named)) == sorted(_uses(by_code))


@given(shown_worlds)
def test_nobody_is_refused_over_what_cannot_be_compared(inputs: Inputs) -> None:
    """Evidence that would count if it were true leaves no lack. Only a recorded positive outweighs it."""
    decision = decide(inputs)
    if pb.EVIDENCE_USE_NOT_COMPARABLE in {one.use for one in decision.considered}:
        positive = (pb.DECISION_REASON_POSITIVE_RESULT, pb.DECISION_REASON_PENDING_RECHECK)
        assert decision.outcome != pb.DECISION_OUTCOME_NOT_RECOGNIZED or decision.reason in positive


def _hide(shown: Evidence, claim: Claim, hidden: str, standing: int) -> tuple[Evidence, Claim]:
    """Return the evidence without one of its facts, and what Results then finds of it.

    The laboratory has `standing` at another time than the one that decides.
    """
    if hidden == ("sample_time" if shown.outcome == PENDING else "report_time"):
        return shown._replace(**{hidden: None}), claim._replace(lab_standing=standing)  # type: ignore[arg-type]
    if hidden in ("sample_time", "report_time"):
        return shown._replace(**{hidden: None}), claim
    if hidden == "report_number":
        return shown._replace(report_number=""), Claim(NOT_COMPARABLE, None, claim.lab_standing, None, claim.lab)
    possible = (claim.record,) if claim.record is not None else ()
    found = Claim(NOT_COMPARABLE, None, lab_pb2.LAB_STANDING_UNSPECIFIED, None, "", possible)
    return shown._replace(lab="", lab_name="不明检验所"), found


def _is_adverse_to_hide(inputs: Inputs, at: int, hidden: str, standing: int) -> bool:
    """Return whether the decision refuses for a lack only after a fact is hidden of the evidence at an index.

    The records are the same. What is left of evidence of an unknown laboratory may equal a record, which then speaks.
    """
    brought = [claim.record for claim in inputs.claims if claim.record is not None]
    brought += [record for claim in inputs.claims for record in claim.possible]
    inputs = inputs._replace(records=(*inputs.records, *brought))
    less, found = _hide(inputs.evidence[at], inputs.claims[at], hidden, standing)
    after = decide(
        inputs._replace(
            evidence=(*inputs.evidence[:at], less, *inputs.evidence[at + 1 :]),
            claims=(*inputs.claims[:at], found, *inputs.claims[at + 1 :]),
        )
    )
    positive = (pb.DECISION_REASON_POSITIVE_RESULT, pb.DECISION_REASON_PENDING_RECHECK)
    if after.outcome != pb.DECISION_OUTCOME_NOT_RECOGNIZED or after.reason in positive:
        return False
    if decide(inputs).outcome == pb.DECISION_OUTCOME_NOT_RECOGNIZED:
        return False
    uses = [one.use for one in after.considered if one.subject is less]
    return bool(less.lab and less.report_number) or uses != [pb.EVIDENCE_USE_SAME_AS_RECORD]


HIDDEN = ("sample_time", "report_time", "report_number", "lab")


@given(
    shown_worlds.filter(lambda inputs: not inputs.own_records_alone),
    st.integers(0, 2),
    st.sampled_from(HIDDEN),
    st.sampled_from((AUTHORIZED, SUSPENDED)),
    st.sampled_from((None, 24 * HOUR, 72 * HOUR)),
)
@example(random_inputs(Random(4878)), 0, "report_time", AUTHORIZED, 24 * HOUR)
def test_an_absent_fact_is_never_adverse(
    inputs: Inputs, at: int, hidden: str, standing: int, proof: int | None
) -> None:
    """If one fact of any evidence is removed, no answer becomes a refusal for a lack."""
    for policy in (inputs.policy, inputs.elsewhere):
        if policy is not None and policy.required is not None:
            required = policy.required._replace(sampling_proof_window=proof)
            one = inputs._replace(policy=policy._replace(required=required), elsewhere=None)
            assert not _is_adverse_to_hide(one, at % len(inputs.evidence), hidden, standing)


@pytest.mark.parametrize(
    ("outcome", "sampled", "asked", "proof", "use"),
    [
        (INCONCLUSIVE, None, 0, 24, "NOT_COMPARABLE"),
        (INCONCLUSIVE, 23, 0, 24, "NOT_COMPARABLE"),
        (INCONCLUSIVE, 24, 0, 24, "INCONCLUSIVE"),
        (INCONCLUSIVE, 23, 0, None, "INCONCLUSIVE"),
        # No report that is issued after this use time can be shown now.
        (INCONCLUSIVE, None, -1, 24, "INCONCLUSIVE"),
        (NEGATIVE, 60, 0, 72, "NOT_COMPARABLE"),
        (NEGATIVE, 72, 0, 72, "EXPIRED"),
        (NEGATIVE, 60, 0, 24, "EXPIRED"),
    ],
)
def test_a_report_without_its_time_may_be_one_to_come(
    outcome: int, sampled: int | None, asked: int, proof: int | None, use: str
) -> None:
    """A sampling record counts until its report is issued, so the absent time might admit the holder."""
    sample_time = None if sampled is None else NOON - sampled * HOUR
    shown = PAPER._replace(outcome=outcome, sample_time=sample_time, report_time=None)  # type: ignore[arg-type]
    policy = _venue(SAMPLE_TIME, None if proof is None else proof * HOUR)
    decision = decide(Inputs(NOON - asked * HOUR, NOON, policy, (), (shown,), (MISSING,), SOURCES))
    assert _uses(decision) == [use]


@pytest.mark.parametrize(
    ("changes", "use"),
    [
        ({"report_time": None}, "NOT_COMPARABLE"),
        ({"report_time": None, "sample_time": NOON - 49 * HOUR, "outcome": INCONCLUSIVE}, "INCONCLUSIVE"),
        ({"sample_time": None}, "LAB_NOT_AUTHORIZED"),
        ({"outcome": PENDING, "report_time": None}, "LAB_NOT_AUTHORIZED"),
        ({"outcome": PENDING, "sample_time": None}, "NOT_COMPARABLE"),
    ],
)
def test_a_standing_speaks_only_at_the_time_that_decides(changes: dict[str, object], use: str) -> None:
    """A report counts by the standing at its report time, and a sampling record by that at its sample time."""
    shown = PAPER._replace(**changes)  # type: ignore[arg-type]
    decision = _decide(shown, MISSING._replace(lab_standing=SUSPENDED), policy=_venue(proof=24 * HOUR))
    assert _uses(decision) == [use]


@given(shown_worlds)
def test_no_missing_report_without_a_laboratory_and_a_number(inputs: Inputs) -> None:
    steps = decide(inputs).next_steps
    uploads = [one for one in steps if one.action == next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT]
    assert all(one.lab in LABS and one.report_number for one in uploads)


@pytest.mark.parametrize(
    ("basis", "sampled", "reported", "reason", "use"),
    [
        (REPORT_TIME, 47, None, "VALID", "USED"),
        (REPORT_TIME, 48, None, "EVIDENCE_NOT_COMPARABLE", "NOT_COMPARABLE"),
        (SAMPLE_TIME, None, 47, "EVIDENCE_NOT_COMPARABLE", "NOT_COMPARABLE"),
        (SAMPLE_TIME, None, 48, "EXPIRED", "EXPIRED"),
        (REPORT_TIME, None, 47, "VALID", "USED"),
        (SAMPLE_TIME, 47, None, "VALID", "USED"),
        (SAMPLE_TIME, 48, None, "EXPIRED", "EXPIRED"),
        (REPORT_TIME, None, None, "EVIDENCE_NOT_COMPARABLE", "NOT_COMPARABLE"),
        (SAMPLE_TIME, None, None, "EVIDENCE_NOT_COMPARABLE", "NOT_COMPARABLE"),
    ],
)
def test_one_of_the_two_times_may_be_missing(
    basis: int, sampled: int | None, reported: int | None, reason: str, use: str
) -> None:
    """A report is not issued before its specimen is taken, and no specimen is taken after its report."""
    shown = PAPER._replace(
        sample_time=None if sampled is None else NOON - sampled * HOUR,
        report_time=None if reported is None else NOON - reported * HOUR,
    )
    decision = _decide(shown, MISSING, policy=_venue(basis))
    assert (_reason(decision), _uses(decision)) == (reason, [use])


@pytest.mark.parametrize(
    ("changes", "standing", "use"),
    [
        ({"outcome": NEGATIVE}, AUTHORIZED, "NOT_COMPARABLE"),
        ({"outcome": NEGATIVE}, SUSPENDED, "LAB_NOT_AUTHORIZED"),
        ({"outcome": NEGATIVE, "sample_time": None, "report_time": None}, SUSPENDED, "NOT_COMPARABLE"),
        ({"outcome": NEGATIVE, "report_time": NOON - 3 * DAY, "sample_time": NOON - 3 * DAY}, AUTHORIZED, "EXPIRED"),
        ({"outcome": NEGATIVE, "report_time": NOON - 9 * HOUR}, AUTHORIZED, "TIMES_IMPOSSIBLE"),
        ({"outcome": POSITIVE}, AUTHORIZED, "NOT_RECORDED"),
        ({"outcome": POOL_POSITIVE}, AUTHORIZED, "NOT_RECORDED"),
        ({"outcome": PENDING, "report_time": None}, AUTHORIZED, "SAMPLING_PROOF_NOT_ACCEPTED"),
    ],
)
def test_what_would_not_count_if_it_were_true_has_the_use_it_would_have(
    changes: dict[str, object], standing: int, use: str
) -> None:
    """The evidence is of a laboratory that may be several registered ones."""
    shown = PAPER._replace(**changes)  # type: ignore[arg-type]
    assert _uses(_decide(shown, UNKNOWN_LAB._replace(lab_standing=standing))) == [use]  # type: ignore[arg-type]


@pytest.mark.parametrize("sampled", [None, NOON - 2 * HOUR])
def test_a_sampling_proof_without_its_time_cannot_be_timed(sampled: int | None) -> None:
    shown = PAPER._replace(outcome=PENDING, sample_time=sampled, report_time=None)
    decision = _decide(shown, MISSING, policy=_venue(proof=24 * HOUR))
    assert _reason(decision) == ("VALID" if sampled else "EVIDENCE_NOT_COMPARABLE")


def test_a_number_alone_equals_a_record_of_it_or_cannot_be_compared() -> None:
    """Such evidence contradicts no record, because the report may be of another laboratory."""
    record = _record("R1", 60)
    claim = UNKNOWN_LAB._replace(possible=(record,))
    shown = PAPER._replace(lab_name="", sample_time=record.sample_time, report_time=record.report_time)
    same = _decide(shown, claim)
    assert (_reason(same), _uses(same)) == ("EXPIRED", ["EXPIRED", "SAME_AS_RECORD"])
    edited = _decide(shown._replace(report_time=NOON - HOUR), claim)
    assert (_reason(edited), _uses(edited)) == ("EVIDENCE_NOT_COMPARABLE", ["EXPIRED", "NOT_COMPARABLE"])
    assert [one.action for one in edited.next_steps] == [next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE]
    # The report of a sampling record is not that record.
    sampled = _record("R1", 6, PENDING)
    ahead = _decide(PAPER._replace(sample_time=None), UNKNOWN_LAB._replace(possible=(sampled,)))
    assert _uses(ahead) == ["SAMPLING_PROOF_NOT_ACCEPTED", "NOT_COMPARABLE"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "CLEARANCE_NOT_RECORDED"),
        ({"report_time": None}, "CLEARANCE_NOT_RECORDED"),
        ({"sample_time": None}, "POSITIVE_RESULT"),
        ({"sample_time": NOON - 30 * HOUR}, "POSITIVE_RESULT"),
        ({"outcome": PENDING, "report_time": None}, "POSITIVE_RESULT"),
        ({"report_time": NOON + 4 * MINUTE}, "POSITIVE_RESULT"),
        ({"report_time": NOON - 9 * HOUR}, "POSITIVE_RESULT"),
    ],
)
def test_a_negative_in_hand_leaves_a_recorded_positive_open(changes: dict[str, object], reason: str) -> None:
    """The negative must count and be later than every positive that governs.

    It does not matter whether every source answered.
    """
    positives = (_record("P1", 28, POSITIVE), _record("P2", 60, POOL_POSITIVE))
    shown = PAPER._replace(**changes)  # type: ignore[arg-type]
    for sources in (SOURCES, SOURCES[:1]):
        decision = decide(Inputs(NOON, NOON, _venue(proof=24 * HOUR), positives, (shown,), (MISSING,), sources))
        assert _reason(decision) == reason
        assert not decision.refusal_permitted or reason == "POSITIVE_RESULT"
    steps = [
        next_step_pb2.NextStepAction.Name(one.action).removeprefix("NEXT_STEP_ACTION_") for one in decision.next_steps
    ]
    if reason == "CLEARANCE_NOT_RECORDED":
        assert sorted(_uses(decision)) == ["GOVERNS", "GOVERNS", "WOULD_CLEAR"]
        assert steps == ["UPLOAD_REPORT", "CONFIRM_CLEARANCE"]
        assert decision.gate.action == pb.GATE_ACTION_LET_IN_AND_REGISTER
        assert decision.result == f"{LABS[0]}/results/P1@1"


def test_evidence_that_cannot_be_compared_clears_nothing() -> None:
    decision = _decide(PAPER, UNKNOWN_LAB, _record("P1", 28, POSITIVE))
    assert (_reason(decision), _uses(decision)) == ("POSITIVE_RESULT", ["GOVERNS", "NOT_COMPARABLE"])


def _answered(inputs: Inputs, answer: LabAnswer | None, *, only: int | None = None) -> Inputs:
    """Return the inputs with an answer to each claim, or only to those in a state."""
    claims = tuple(one._replace(answer=answer) if only is None or one.state == only else one for one in inputs.claims)
    return inputs._replace(claims=claims)


def _without_answers(decision: Decision) -> Decision:
    return decision._replace(considered=tuple(one._replace(lab_answer=None) for one in decision.considered))


@given(shown_worlds)
def test_a_denied_report_counts_as_if_it_were_not_shown(inputs: Inputs) -> None:
    """Outcome and expiry are those without the evidence, and it refuses nobody more."""
    denied = decide(_answered(inputs, DENIED, only=NOT_FOUND))
    rest = [pair for pair in zip(inputs.evidence, inputs.claims, strict=True) if pair[1].state != NOT_FOUND]
    without = decide(inputs._replace(evidence=tuple(pair[0] for pair in rest), claims=tuple(pair[1] for pair in rest)))
    assert (denied.outcome, denied.expire_time, denied.result) == (without.outcome, without.expire_time, without.result)
    assert denied.refusal_permitted <= without.refusal_permitted
    examined = {(one.lab, one.report_number) for one in denied.next_steps if one.action == EXAMINE}
    of_denied = {one.subject for one in denied.considered if one.use == pb.EVIDENCE_USE_DENIED_BY_LAB}
    assert {one.report_number for one in of_denied} <= {number for _, number in examined}


@given(shown_worlds)
def test_a_report_that_is_to_follow_changes_no_decision(inputs: Inputs) -> None:
    """The answer is only stated beside the evidence."""
    followed = decide(_answered(inputs, TO_COME, only=NOT_FOUND))
    assert _without_answers(followed) == decide(_answered(inputs, None, only=NOT_FOUND))


@given(worlds)
def test_a_record_outweighs_every_answer(inputs: Inputs) -> None:
    """The claim brings the record, or the look-up does while the claim is missing. A denial then changes nothing."""
    found = tuple(one for one in zip(inputs.evidence, inputs.claims, strict=True) if one[1].state != NOT_FOUND)
    recorded = inputs._replace(evidence=tuple(one[0] for one in found), claims=tuple(one[1] for one in found))
    assert decide(_answered(recorded, DENIED)) == decide(recorded)
    shown = tuple(_as_shown(record) for record in inputs.records[:3])
    missing = tuple(MISSING._replace(lab=record.lab) for record in inputs.records[:3])
    looked_up = inputs._replace(evidence=shown, claims=missing)
    assert decide(_answered(looked_up, DENIED)) == decide(looked_up)


def _as_shown(record: Record) -> Evidence:
    """Return the report of a record in hand. Of a sampling record it is the report that follows it."""
    times = record.sample_time, record.report_time
    if record.outcome == PENDING:
        return Evidence(7, record.lab, record.report_number, NEGATIVE, record.sample_time, None, record.item)
    return Evidence(7, record.lab, record.report_number, record.outcome, *times, record.item)


def test_an_answer_is_stated_beside_its_evidence() -> None:
    shown = PAPER._replace(lab=LABS[0], lab_name="")
    for answer, reason, use in ((TO_COME, "VALID", "USED"), (DENIED, "EVIDENCE_CONTRADICTS_RECORD", "DENIED_BY_LAB")):
        decision = _decide(shown, MISSING._replace(answer=answer))
        assert (_reason(decision), _uses(decision)) == (reason, [use])
        assert decision.considered[0].lab_answer == answer
    # A denial is evidence of a forgery, so it clears no positive and leaves none open.
    decision = _decide(shown, MISSING._replace(answer=DENIED), _record("P1", 28, POSITIVE))
    assert (_reason(decision), _uses(decision)) == ("POSITIVE_RESULT", ["GOVERNS", "DENIED_BY_LAB"])
