"""The duties of the source report, as scenarios in tests/scenarios/verification_*.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lab_pb2, lookup_pb2, missing_report_pb2, next_step_pb2, result_pb2
from hutong.type.v1 import channel_pb2, outcome_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import refusal_pb2

from services.domain.instant import HOUR, SHANGHAI, Instant, from_datetime
from services.verification.decision.decide import decide
from services.verification.decision.model import (
    NOT_COMPARABLE,
    NOT_LOOKED_UP,
    REPORT_TIME,
    SAMPLE_TIME,
    SOURCE_OK,
    SOURCE_UNAVAILABLE,
    Claim,
    EffectivePolicy,
    Evidence,
    Inputs,
    LabAnswer,
    Record,
    Requirement,
    SourceStatus,
    Window,
)
from services.verification.refusals.rules import assess, forbidden_among, was_entitled, was_refusable

SCENARIOS = Path(__file__).parents[2] / "scenarios"
RECOGNITION = yaml.safe_load((SCENARIOS / "verification_recognition.yaml").read_text(encoding="utf-8"))
MESSAGE_BOARD = yaml.safe_load((SCENARIOS / "verification_message_board.yaml").read_text(encoding="utf-8"))
LAB = "labs/lab-of-{}"


def _cases(file: dict[str, Any]) -> Iterator[Any]:
    for duty in file["duties"]:
        for number, case in enumerate(duty["cases"], 1):
            yield pytest.param(case, id=f"{duty['duty']} [{number}]")


def _instant(text: str | None) -> Instant | None:
    if text is None:
        return None
    return from_datetime(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI))


def _policy(place: dict[str, Any]) -> EffectivePolicy:
    if not place:
        return EffectivePolicy("", "", None, (), ())
    required = None
    if place.get("window") != "none":
        hours = place.get("window")
        required = Requirement(
            Window(
                int(hours[:-1]) * HOUR if hours else None,
                place.get("days"),
                REPORT_TIME if place["basis"] == "report" else SAMPLE_TIME,
                includes_boundary=False,
            ),
            int(place["proof"][:-1]) * HOUR if "proof" in place else None,
            place["refuse"],
        )
    forbidden = tuple(
        refusal_ground_pb2.RefusalGround.Value(f"REFUSAL_GROUND_{name}") for name in place.get("forbidden", [])
    )
    return EffectivePolicy(f"jurisdictions/{place['region']}/policies/venue@1", "", required, forbidden, ())


def _record(name: str) -> Record:
    report = RECOGNITION["reports"][name]
    lab = LAB.format(report["lab"])
    sampled = _instant(report["sampled"])
    assert sampled is not None
    return Record(
        f"{lab}/results/{name}",
        1,
        result_pb2.ResultState.Value(f"RESULT_STATE_{report.get('state', 'active').upper()}"),
        lab,
        name,
        outcome_pb2.Outcome.Value(f"OUTCOME_{report['outcome'].upper()}"),
        sampled,
        None,
        None,
        _instant(report.get("reported")),
        lab_pb2.LabStanding.Value(f"LAB_STANDING_{report.get('standing', 'authorized').upper()}"),
        report.get("item", ""),
    )


def _evidence(shown: dict[str, Any]) -> Evidence:
    report = RECOGNITION["reports"][shown["report"]] | shown
    return Evidence(
        channel_pb2.Channel.Value(f"CHANNEL_{report.get('by', 'PAPER_REPORT')}"),
        "" if _is_without_code(shown) else LAB.format(report["lab"]),
        shown.get("number", shown["report"]),
        outcome_pb2.Outcome.Value(f"OUTCOME_{report['outcome'].upper()}"),
        _instant(report["sampled"]),
        _instant(report.get("reported")),
        report.get("item", ""),
        shown.get("lab_name", ""),
    )


def _is_without_code(shown: dict[str, Any]) -> bool:
    """Return whether evidence shows its laboratory by name, or not at all."""
    return "lab_name" in shown or shown.get("lab") == ""


def _find_lab(shown: dict[str, Any], recorded: list[str]) -> str | None:
    """Return the region of the laboratory that evidence means; None if that is not known, as Results does."""
    if not _is_without_code(shown):
        return str(RECOGNITION["reports"][shown["report"]]["lab"])
    labs = RECOGNITION["registered"].get(shown.get("lab_name"), [])
    if len(labs) > 1 and shown["report"] in recorded:
        labs = [lab for lab in labs if lab == RECOGNITION["reports"][shown["report"]]["lab"]]
    return labs[0] if len(labs) == 1 else None


def _claim(shown: dict[str, Any], case: dict[str, Any]) -> Claim:
    name = shown["report"]
    if case.get("results") == "away":
        return NOT_LOOKED_UP
    lab = _find_lab(shown, case.get("recorded", []))
    if lab is None or shown.get("number") == "":
        without = "lab_name" not in shown or not RECOGNITION["registered"].get(shown["lab_name"])
        possible = (_record(name),) if lab is None and without and name in case.get("recorded", []) else ()
        unknown = lab_pb2.LAB_STANDING_UNSPECIFIED
        return Claim(NOT_COMPARABLE, None, unknown, None, LAB.format(lab) if lab else "", possible)
    return _identified(shown, case)._replace(lab=LAB.format(lab))


def _identified(shown: dict[str, Any], case: dict[str, Any]) -> Claim:
    name = shown["report"]
    if (shown | RECOGNITION["reports"][name]).get("item"):
        # Results returns no content of an item that the look-up does not ask for.
        found = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM
        return Claim(found, None, lab_pb2.LAB_STANDING_AUTHORIZED) if name in case["recorded"] else NOT_LOOKED_UP
    if name in case.get("recorded", []):
        return Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, _record(name), lab_pb2.LAB_STANDING_AUTHORIZED)
    others = RECOGNITION["reports"][name].get("of") == "somebody_else"
    state = (
        lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON
        if others
        else lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
    )
    standing = RECOGNITION["reports"][name].get("standing", "unspecified")
    answer = None
    if "answered" in shown:
        stated = missing_report_pb2.MissingReportAnswer.Value(f"MISSING_REPORT_ANSWER_{shown['answered']}")
        answer = LabAnswer(stated, 0)
    return Claim(state, None, lab_pb2.LabStanding.Value(f"LAB_STANDING_{standing.upper()}"), answer=answer)


def _state(away: bool) -> lookup_pb2.SourceState.ValueType:
    return SOURCE_UNAVAILABLE if away else SOURCE_OK


@pytest.mark.parametrize("case", list(_cases(RECOGNITION)))
def test_recognition(case: dict[str, Any]) -> None:
    """Tests who is recognised where, by which rule and until when, and why the others are not."""
    when = _instant(case["when"])
    assert when is not None
    shown = case.get("shown", [])
    sources = [SourceStatus("nodes/410000/results", _state(case.get("results") == "away"), None)]
    if case.get("scope") != "local":
        sources.append(SourceStatus("nodes/000000/results", _state("000000" in case.get("silent", [])), None))
    sources += [
        SourceStatus(f"nodes/{region}/results", _state(True), None)
        for region in case.get("silent", [])
        if region != "000000"
    ]
    inputs = Inputs(
        when,
        when,
        _policy(RECOGNITION["places"][case["at"]]),
        tuple(_record(name) for name in case.get("recorded", [])),
        tuple(_evidence(one) for one in shown),
        tuple(_claim(one, case) for one in shown),
        tuple(sources),
        _policy(RECOGNITION["places"][case["or"]]) if "or" in case else None,
        case.get("own_records_alone", False),
        ("",) if case.get("history") == "cut" else (),
    )
    decision = decide(inputs)
    assert pb.DecisionReason.Name(decision.reason) == f"DECISION_REASON_{case['expect']}"
    if "action" in case:
        then = f" then {pb.GateAction.Name(decision.gate.then_action)}" if decision.gate.then_action else ""
        assert f"{pb.GateAction.Name(decision.gate.action)}{then}".replace("GATE_ACTION_", "") == case["action"]
    if "applied" in case:
        assert policy_pb2.TravelerOrigin.Name(decision.assumed_origin) == f"TRAVELER_ORIGIN_{case['applied']}"
    if "basis" in case:
        assert pb.DecisionBasis.Name(decision.basis) == f"DECISION_BASIS_{case['basis']}"
    if "until" in case:
        assert decision.expire_time == _instant(case["until"])
    if "next_steps" in case:
        actions = [next_step_pb2.NextStepAction.Name(one.action) for one in decision.next_steps]
        assert actions == [f"NEXT_STEP_ACTION_{action}" for action in case["next_steps"]]
    if "refusal" in case:
        assert decision.refusal_permitted is case["refusal"]
    if "uses" in case:
        uses = [pb.EvidenceUse.Name(one.use).removeprefix("EVIDENCE_USE_") for one in decision.considered]
        assert sorted(uses) == sorted(case["uses"])


@pytest.mark.parametrize("case", list(_cases(MESSAGE_BOARD)))
def test_message_board(case: dict[str, Any]) -> None:
    """Return the assessment of a refusal."""
    ground = refusal_ground_pb2.RefusalGround.Value
    known = case.get("rule") != "unknown"
    forbidden_here = [ground(f"REFUSAL_GROUND_{name}") for name in MESSAGE_BOARD["forbidden"]] if known else []
    entitled = refusable = None
    if "decision" in case:
        outcome = pb.DecisionOutcome.Value(f"DECISION_OUTCOME_{case['decision']}")
        entitled = was_entitled(outcome, 0, HOUR if case["decision"] == "RECOGNIZED" else None, 0)
        refusable = was_refusable(
            outcome,
            refusal_permitted=case.get("permitted", False),
            was_shown=case.get("shown", False),
            use_time=0,
            refuse_time=0,
        )
    grounds = [ground(f"REFUSAL_GROUND_{name}") for name in case["grounds"]]
    forbidden = forbidden_among(grounds, forbidden_here, entitled=entitled)
    assessment = assess(forbidden, rule_known=known, entitled=entitled, refusable=refusable)
    assert refusal_pb2.RefusalAssessment.Name(assessment) == f"REFUSAL_ASSESSMENT_{case['expect']}"
