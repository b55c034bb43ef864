"""The decision agrees with an independent, naive reading of the rules on random worlds."""

from __future__ import annotations

import os
from collections import Counter
from random import Random

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.decide import decide
from services.verification.decision.model import Inputs
from tests.support.verification import naive_decision
from tests.support.verification.decision_inputs import random_inputs

CASES = int(os.environ.get("MODEL_CASES", "5000"))
"""How many worlds are tried; `make soak` tries 100,000 and `make soak-model` 1,000,000."""


def _assert_agree(inputs: Inputs) -> str:
    decision = decide(inputs)
    expected = naive_decision.decide_naively(inputs)
    outcome = pb.DecisionOutcome.Name(decision.outcome).removeprefix("DECISION_OUTCOME_")
    reason = pb.DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_")
    assert (outcome, reason) == (expected.outcome, expected.reason)
    assert decision.refusal_permitted == expected.refusal_permitted
    origin = policy_pb2.TravelerOrigin.Name(decision.assumed_origin).removeprefix("TRAVELER_ORIGIN_")
    assert origin == (expected.origin or "UNSPECIFIED")
    assert (decision.policy.governing if decision.policy else "") == expected.policy
    assert str(decision.gate.number) == expected.line["row"]
    if expected.basis:
        assert pb.DecisionBasis.Name(decision.basis) == f"DECISION_BASIS_{expected.basis}"
    if expected.outcome == "RECOGNIZED" or expected.result:
        assert decision.result == expected.result
    if (expected.outcome == "RECOGNIZED" or expected.result) and expected.item != "any":
        assert decision.item == expected.item
    if expected.expire_time is not None:
        assert decision.expire_time is not None
        assert naive_decision.moment(decision.expire_time) == expected.expire_time
    differing = [one.differing_fields for one in decision.considered if one.differing_fields]
    denied = [one for one in decision.considered if one.use == pb.EVIDENCE_USE_DENIED_BY_LAB]
    differing += [(naive_decision.BY_LAB,)] * len(denied)
    assert Counter(differing) == Counter(expected.contradictions)
    uploads = {
        (one.lab, one.report_number)
        for one in decision.next_steps
        if one.action == next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT
    }
    assert uploads == expected.to_upload
    to_confirm = {
        (one.lab, one.report_number)
        for one in decision.next_steps
        if one.action == next_step_pb2.NEXT_STEP_ACTION_CONFIRM_CLEARANCE
    }
    assert to_confirm == expected.to_confirm
    return reason


def test_decisions_agree_with_the_naive_model() -> None:
    """Rules and model agree on seeded random inputs, and every possible reason occurs."""
    random = Random(20220811)
    seen = Counter(_assert_agree(random_inputs(random)) for _ in range(CASES))
    every = {name.removeprefix("DECISION_REASON_") for name in dict(pb.DecisionReason.items())}
    assert set(seen) == every - {"UNSPECIFIED"}
