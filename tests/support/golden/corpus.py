"""The corpus of golden decisions: read, compared, and made anew.

`decisions.jsonl` begins with a line about the corpus itself. Each further line is a case: its name, the stored inputs,
and the decision that this version of the rules makes of them. Inputs of the corpus stay when it is made anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.decide import RULES_VERSION, decide
from services.verification.verify.convert import decision_to_proto
from services.verification.verify.inputs import inputs_from_proto
from tests.support.golden.random_inputs import random_inputs
from tests.support.golden.stories import STORIES

CORPUS = Path(__file__).parents[2] / "golden/decisions.jsonl"
SIZE = 200
"""Cases of a corpus that is made from nothing. A later one may have more, to cover what is new."""
CANDIDATES = 6_000
"""Random inputs that are tried."""


@dataclass(frozen=True, slots=True)
class Case:
    """Stored inputs, and the decision that was made of them."""

    name: str
    inputs: pb.DecisionInputs
    decision: pb.Decision


def make_decision(inputs: pb.DecisionInputs, name: str = "") -> pb.Decision:
    """Decide as a replay does. `name` is that of the stored decision."""
    values = inputs_from_proto(inputs)
    return decision_to_proto(decide(values), values, name)


def read_corpus(*, renamed: bool = False) -> tuple[dict[str, Any], list[Case]]:
    """Return the line about the corpus, and its cases.

    If fields or values were `renamed` since it was made, decisions are read without them, and inputs that had them are
    left out.

    Raises:
        ParseError: a name is not of this contract.
    """
    first, *lines = CORPUS.read_text(encoding="utf-8").splitlines()
    cases: list[Case] = []
    for line in map(json.loads, lines):
        try:
            inputs = ParseDict(line["inputs"], pb.DecisionInputs())
        except ParseError:
            if not renamed:
                raise
            continue
        decision = ParseDict(line["decision"], pb.Decision(), ignore_unknown_fields=renamed)
        cases.append(Case(line["name"], inputs, decision))
    return json.loads(first), cases


def features(inputs: pb.DecisionInputs, decision: pb.Decision) -> set[str]:
    """Return what a case covers."""
    found = {
        f"reason {pb.DecisionReason.Name(decision.reason)}",
        f"outcome {pb.DecisionOutcome.Name(decision.outcome)}",
        f"basis {pb.DecisionBasis.Name(decision.basis)}",
        f"action {pb.GateAction.Name(decision.action)} then {pb.GateAction.Name(decision.then_action)}",
        f"refusal permitted {decision.refusal_permitted} for {pb.DecisionReason.Name(decision.reason)}",
        f"origin {decision.assumed_origin}",
        f"own records alone {inputs.own_records_alone}",
    }
    found |= {f"use {pb.EvidenceUse.Name(one.use)}" for one in decision.considered}
    found |= {f"differs in {field}" for one in decision.considered for field in one.differing_fields}
    found |= {f"next step {next_step_pb2.NextStepAction.Name(one.action)}" for one in decision.next_steps}
    found |= {f"claim {lookup_pb2.ClaimedReportMatchState.Name(claim.state)}" for claim in inputs.claims}
    policies = [inputs.effective_policy, inputs.by_origin.same_province, inputs.by_origin.other_province]
    for policy in policies:
        if policy.lifting_floor:
            found.add("lift")
        found |= {f"floor by {floor.shortest_window.WhichOneof('length')}" for floor in policy.shortest_windows}
        found |= {f"policy states {field.name}" for field, _ in policy.test_required.ListFields()}
    found |= {f"evidence shows {field.name}" for shown in inputs.evidence for field, _ in shown.ListFields()}
    found |= {f"claim has {field.name}" for claim in inputs.claims for field, _ in claim.ListFields()}
    return found


def missing_values(covered: Iterable[str]) -> list[str]:
    """Return the reasons and uses of the contract that no case has."""
    every = {f"reason {name}" for name, _ in pb.DecisionReason.items()}
    every |= {f"use {name}" for name, _ in pb.EvidenceUse.items()}
    return sorted(name for name in every - set(covered) if not name.endswith("_UNSPECIFIED"))


def make_corpus(kept: list[Case]) -> tuple[dict[str, Any], list[Case]]:
    """Return a corpus of the kept inputs, of the stories, and of random inputs that cover what these do not."""
    inputs = {case.name: case.inputs for case in kept}
    for name, told in STORIES.items():
        inputs.setdefault(name, told)
    cases = {name: _case(name, one) for name, one in inputs.items()}
    covered: Counter[str] = Counter()
    for case in cases.values():
        covered.update(features(case.inputs, case.decision))
    spare: list[Case] = []
    for candidate in _candidates(set(cases)):
        new = features(candidate.inputs, candidate.decision)
        if new - covered.keys():
            cases[candidate.name] = candidate
            covered.update(new)
        else:
            spare.append(candidate)
    # Further random inputs are added if they cover a feature that few cases have.
    having = {case.name: features(case.inputs, case.decision) for case in spare}
    while len(cases) < SIZE:
        rarest = min(spare, key=lambda one: min(covered[name] for name in having[one.name]))
        spare.remove(rarest)
        cases[rarest.name] = rarest
        covered.update(having[rarest.name])
    about = {"rules_version": RULES_VERSION, "cases": len(cases), "not_covered": missing_values(covered)}
    return about, list(cases.values())


def _candidates(known: set[str]) -> Iterator[Case]:
    for seed in range(CANDIDATES):
        name = f"random {seed}"
        if name not in known:
            yield _case(name, random_inputs(Random(seed)))


def _case(name: str, inputs: pb.DecisionInputs) -> Case:
    stored = pb.DecisionInputs()
    stored.CopyFrom(inputs)
    stored.rules_version = RULES_VERSION
    return Case(name, stored, make_decision(stored))


def write_corpus(about: dict[str, Any], cases: list[Case]) -> None:
    """Write a corpus, a line for each case."""
    lines: list[dict[str, Any]] = [about]
    lines += [
        {"name": case.name, "inputs": _to_dict(case.inputs), "decision": _to_dict(case.decision)} for case in cases
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    CORPUS.write_text(text, encoding="utf-8")


def _to_dict(message: pb.DecisionInputs | pb.Decision) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)
