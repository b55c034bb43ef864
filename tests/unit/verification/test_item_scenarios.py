"""Policies with several items, from their message to the decision (tests/scenarios/verification_items.yaml)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lookup_pb2
from hutong.type.v1 import outcome_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import SHANGHAI, Instant, from_datetime
from services.domain.names import parse_item
from services.verification.decision.decide import decide
from services.verification.decision.model import (
    ACTIVE,
    NATIONAL_RESULTS,
    SOURCE_OK,
    Claim,
    EffectivePolicy,
    Evidence,
    Inputs,
    Record,
    SourceStatus,
)
from services.verification.sources.convert import policy_from_proto

FILE = yaml.safe_load((Path(__file__).parents[2] / "scenarios/verification_items.yaml").read_text(encoding="utf-8"))
CASES = [
    pytest.param(case, id=f"{duty['duty']} [{number}]")
    for duty in FILE["duties"]
    for number, case in enumerate(duty["cases"], 1)
]
LAB = "labs/91410100MA0000001X"
SOURCES = (SourceStatus("nodes/410000/results", SOURCE_OK, None), SourceStatus(NATIONAL_RESULTS, SOURCE_OK, None))


def _instant(text: str) -> Instant:
    return from_datetime(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI))


def _item(name: str) -> str:
    """Return an item's name in full."""
    return f"items/{name}" if name == "hepatitis-b" else f"items/sars-cov-2-{name}"


def _hours(text: str) -> Duration:
    return Duration(seconds=int(text.partition("h")[0]) * 3600)


def _window(text: str) -> policy_pb2.ValidityWindow:
    return policy_pb2.ValidityWindow(
        duration=_hours(text),
        basis=policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
        if text.endswith("sampling")
        else policy_pb2.VALIDITY_BASIS_REPORT_TIME,
    )


def _policy(said: dict[str, Any]) -> EffectivePolicy:
    message = policy_pb2.EffectivePolicy(governing="jurisdictions/410100/policies/venue@1")
    required = message.test_required
    required.window.CopyFrom(_window(said["window"]))
    for name, window in said.get("accept", {}).items():
        accepted = required.accepted.add(item=_item(name))
        if window != "same":
            accepted.window.CopyFrom(_window(window))
    required.adverse_items.extend(map(_item, said.get("adverse", [])))
    if "stands" in said:
        required.adverse_window.CopyFrom(_hours(said["stands"]))
    if "proof" in said:
        required.sampling_proof_window.CopyFrom(_hours(said["proof"]))
    if "floor" in said:
        message.shortest_windows.add().shortest_window.duration.CopyFrom(_hours(said["floor"]))
    return policy_from_proto(message)


def _record(name: str) -> Record:
    report = FILE["reports"][name]
    return Record(
        f"{LAB}/results/{name}",
        1,
        ACTIVE,
        LAB,
        name,
        outcome_pb2.Outcome.Value(f"OUTCOME_{report['outcome'].upper()}"),
        _instant(report["sampled"]),
        None,
        None,
        _instant(report["reported"]) if "reported" in report else None,
        1,
        parse_item(_item(report["item"])),
    )


def _shown(name: str, recorded: list[str]) -> tuple[Evidence, Claim]:
    record = _record(name)
    evidence = Evidence(7, LAB, name, record.outcome, record.sample_time, record.report_time, record.item)
    if name in recorded:
        return evidence, Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, record, 1)
    return evidence, Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, 1)


@pytest.mark.parametrize("case", CASES)
def test_items(case: dict[str, Any]) -> None:
    """Tests which item decides and until when, and how the other items are used."""
    when = _instant(case.get("when", "2022-12-11 12:00"))
    recorded = case.get("recorded", [])
    shown = [_shown(name, recorded) for name in case.get("shown", [])]
    inputs = Inputs(
        when,
        when,
        _policy(FILE["policies"][case["by"]]),
        tuple(map(_record, recorded)),
        tuple(evidence for evidence, _ in shown),
        tuple(claim for _, claim in shown),
        SOURCES,
    )
    decision = decide(inputs)
    assert pb.DecisionReason.Name(decision.reason) == f"DECISION_REASON_{case['expect']}"
    assert decision.item == (parse_item(_item(case["item"])) if "item" in case else "")
    if "until" in case:
        assert decision.expire_time == _instant(case["until"])
    if "uses" in case:
        uses = [pb.EvidenceUse.Name(one.use).removeprefix("EVIDENCE_USE_") for one in decision.considered]
        assert sorted(uses) == sorted(case["uses"])
