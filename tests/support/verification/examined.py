"""Reads the table of examined answers (tests/scenarios/examined_answers.yaml) and decides its cases.

The policies are resolved by Policy's own book, and the decision is made by Verification's own rule. What a look-up
finds is modelled here: the person's records, a laboratory's standing at an instant, and the record that a paper names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lab_pb2, lookup_pb2, missing_report_pb2
from hutong.type.v1 import channel_pb2, purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import HOUR, SHANGHAI, Instant, from_datetime, to_timestamp
from services.domain.names import parse_item
from services.policy.convert import answer_to_proto, bare_statement, revision_from_proto
from services.policy.model import AnswerByOrigin
from services.policy.rules.resolve import PolicyBook
from services.verification.decision import model
from services.verification.decision.decide import decide
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision.items import item_rules
from services.verification.decision.model import Claim, Decision, EffectivePolicy, Evidence, Inputs, LabAnswer, Record
from services.verification.sources.convert import policy_from_proto

FILE = Path(__file__).parents[2] / "scenarios/examined_answers.yaml"
TIME = r"(?:\d{4}-)?\d\d-\d\d \d\d:\d\d(?::\d\d(?:\.\d+)?)?"
OUTCOMES = {"pending": 1, "negative": 2, "positive": 3, "pool": 4, "inconclusive": 5}
STANDINGS = {"authorised": 1, "warned": 2, "suspended": 3, "revoked": 4}
ITEMS = {"nucleic": "", "antigen": "items/sars-cov-2-antigen"}
BASES = {"report": policy_pb2.VALIDITY_BASIS_REPORT_TIME, "sampling": policy_pb2.VALIDITY_BASIS_SAMPLE_TIME}
MATCH = lookup_pb2.ClaimedReportMatchState.Value


@dataclass(slots=True)
class Report:
    """A report as the table writes it."""

    outcome: int
    words: Mapping[str, str]
    sampled: Instant | None
    reported: Instant | None

    @property
    def number(self) -> str:
        """The number of the report, R0 if the table does not tell reports apart."""
        return canonical_report_number(self.words.get("number", ""))


@dataclass(slots=True)
class Case:
    """One line of the table: who is asked about, what is known, and the right answer."""

    name: str
    world: World
    region: str
    purpose: int
    origin: str
    use_time: Instant
    now: Instant
    records: list[Report] = field(default_factory=list)
    strangers: list[Report] = field(default_factory=list)
    shown: list[Report] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    nation: int | None = model.SOURCE_OK
    policy_is_away: bool = False
    results_are_away: bool = False
    expected: str = ""

    def decide(self) -> Decision:
        """Return the decision."""
        policies = () if self.policy_is_away else self.world.resolve(self)
        sources = [
            model.SourceStatus("nodes/410000/results", _state(self.results_are_away), None),
            model.SourceStatus("nodes/410000/policy", _state(self.policy_is_away), None),
        ]
        if self.nation is not None:
            sources.append(model.SourceStatus(model.NATIONAL_RESULTS, self.nation, None))  # type: ignore[arg-type]
        weighed = {
            item for policy in policies if policy.required is not None for item in item_rules(policy.required).weighed
        }
        return decide(
            Inputs(
                self.use_time,
                self.now,
                policies[0] if policies else None,
                tuple(record for one in self.records if (record := self._record(one)).item in weighed),
                tuple(self._evidence(one) for one in self.shown),
                tuple(self._claim(one, weighed) for one in self.shown),
                tuple(sources),
                policies[1] if len(policies) > 1 else None,
            )
        )

    def _record(self, report: Report) -> Record:
        lab = report.words.get("by", "A")
        at = report.sampled if report.reported is None else report.reported
        assert report.sampled is not None
        assert at is not None
        return Record(
            f"labs/{lab}/results/{report.number}",
            1,
            3 if "recalled" in report.words else model.ACTIVE,  # type: ignore[arg-type]
            f"labs/{lab}",
            report.number,
            report.outcome,  # type: ignore[arg-type]
            report.sampled,
            None,
            None,
            report.reported,
            self.world.standing(lab, at),
            _item(report),
        )

    def _evidence(self, report: Report) -> Evidence:
        return Evidence(
            channel_pb2.Channel.Value(f"CHANNEL_{report.words.get('via', 'PAPER_REPORT')}"),
            f"labs/{lab}" if (lab := _lab_shown(report)) else "",
            report.number,
            report.outcome,  # type: ignore[arg-type]
            report.sampled,
            report.reported,
            _item(report),
            report.words.get("name", ""),
        )

    def _claim(self, report: Report, weighed: set[str]) -> Claim:
        """Return what Results finds of the report that is shown."""
        if _item(report) not in weighed or self.results_are_away:
            return model.NOT_LOOKED_UP
        found = [one for one in self.records if one.number == report.number]
        labs = [lab] if (lab := _lab_shown(report)) else self.world.labs_named(report.words.get("name", ""))
        if len(labs) > 1:
            labs = [one for one in labs if any(record.words.get("by") == one for record in found)]
        standing = self.world.standing(labs[0], report.reported or self.now) if len(labs) == 1 else 0
        if len(labs) != 1 or not report.number:
            possible = tuple(map(self._record, found)) if not labs and report.number else ()
            return Claim(model.NOT_COMPARABLE, None, standing, possible=possible)  # type: ignore[arg-type]
        name, state, record, answer = f"labs/{labs[0]}", "NOT_FOUND", None, None
        for one in found:
            if one.words.get("by", "A") == labs[0]:
                record = self._record(one)
                state = "FOUND" if record.item in weighed else "OTHER_ITEM"
        if record is None and any(one.number == report.number for one in self.strangers):
            state = "OTHER_PERSON"
        if state == "NOT_FOUND" and report.number in self.denied:
            answer = LabAnswer(missing_report_pb2.MISSING_REPORT_ANSWER_NOT_OURS, self.now)
        return Claim(
            MATCH(f"CLAIMED_REPORT_MATCH_STATE_{state}"),
            record if state == "FOUND" else None,
            standing,  # type: ignore[arg-type]
            lab=name,
            answer=answer,
        )


class World:
    """The policies of one group of the table, and its laboratories."""

    def __init__(self, labs: Mapping[str, Mapping[str, str]], policies: Mapping[str, Mapping[str, Any]]) -> None:
        self._labs = labs
        self._book = PolicyBook(
            revision_from_proto(bare_statement(policy), revision, 0, "a test")
            for policy, revision in _publish(policies)
        )

    def resolve(self, case: Case) -> tuple[EffectivePolicy, ...]:
        """Return what applies: one policy, or one for each origin."""
        answer = self._book.resolve(case.region, case.purpose, case.origin, case.use_time)
        answers = (answer.same_province, answer.other_province) if isinstance(answer, AnswerByOrigin) else (answer,)
        found = tuple(policy_from_proto(answer_to_proto(one)) for one in answers)
        forbidden = tuple(sorted({ground for one in found for ground in one.forbidden_grounds}))
        return tuple(one._replace(forbidden_grounds=forbidden) for one in found)

    def standing(self, lab: str, at: Instant) -> lab_pb2.LabStanding.ValueType:
        """Return a laboratory's standing at an instant; UNSPECIFIED if no register has the laboratory."""
        if lab not in self._labs:
            return lab_pb2.LAB_STANDING_UNSPECIFIED
        found = "authorised"
        for name, since in self._labs[lab].items():
            if name in STANDINGS and instant(since) <= at:
                found = name
        return STANDINGS[found]  # type: ignore[return-value]

    def labs_named(self, name: str) -> list[str]:
        """Return the laboratories of a name."""
        return [lab for lab, facts in self._labs.items() if name and facts.get("name") == name]


def read_cases() -> Iterator[Case]:
    """Yield every case of the table."""
    file = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for group in file["groups"]:
        world = World(file["labs"], group["policies"])
        for line in group["cases"]:
            yield _read(line, group, world)


def describe(decision: Decision, expected: str) -> str:
    """Return a decision in the words of the table. What `expected` does not mention is left out."""
    gate = decision.gate
    words = [
        pb.DecisionOutcome.Name(decision.outcome).removeprefix("DECISION_OUTCOME_"),
        pb.DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_"),
        "?" if " ? " in expected else _format(decision.expire_time),
        pb.GateAction.Name(gate.action).removeprefix("GATE_ACTION_"),
    ]
    if gate.then_action:
        words += ["then", pb.GateAction.Name(gate.then_action).removeprefix("GATE_ACTION_")]
    if gate.must_register:
        words.append("register")
    if decision.basis and expected.endswith(("RECORD", "PRESENTED")):
        words.append(pb.DecisionBasis.Name(decision.basis).removeprefix("DECISION_BASIS_"))
    if "assumed=" in expected:
        origin = policy_pb2.TravelerOrigin.Name(decision.assumed_origin)
        words.append(f"assumed={origin.removeprefix('TRAVELER_ORIGIN_')}")
    return " ".join(words)


def instant(text: str) -> Instant:
    """Return an instant of Asia/Shanghai; of 2022 if the text names no year."""
    text = text.strip() if re.match(r"\d{4}-", text.strip()) else f"2022-{text.strip()}"
    return from_datetime(datetime.fromisoformat(text.replace(" ", "T")).replace(tzinfo=SHANGHAI))


def _format(at: Instant | None) -> str:
    if at is None:
        return "-"
    time = datetime(1970, 1, 1, 8, tzinfo=SHANGHAI) + timedelta(microseconds=at)
    text = time.strftime("%Y-%m-%d %H:%M" if time.year != 2022 else "%m-%d %H:%M")
    return text + (f":{time:%S}" if time.second else "")


def _read(line: str, group: Mapping[str, Any], world: World) -> Case:
    name, *parts = (part.strip() for part in line.split("|"))
    question = parts.pop(0) if re.match(r"\d{6} ", parts[0]) else group["ask"]
    asked = re.fullmatch(r"(\d{6}) (\w+)(?: from (\d{6}))? @(?:now )?(.*?)(?: now (.*))?", question)
    assert asked, question
    region, purpose, origin, use, now = asked.groups()
    use_time = instant(use)
    case = Case(name, world, region, purpose_pb2.Purpose.Value(f"PURPOSE_{purpose}"), origin or "", use_time, use_time)
    if now:
        case.now = instant(now)
    case.expected = parts.pop()
    kind = ""
    for fact in (one.strip() for one in parts[0].split(";")) if parts and parts[0] else ():
        word, _, rest = fact.partition(" ")
        if word in OUTCOMES or word == "default":
            word, rest = kind, fact
        kind = word
        if word in ("have", "shown", "stranger"):
            lists = {"have": case.records, "shown": case.shown, "stranger": case.strangers}
            lists[word].append(_report(group["default"] if rest == "default" else rest, len(case.records)))
        elif word == "denied":
            case.denied.add(rest)
        else:
            _set_source(case, fact)
    return case


def _set_source(case: Case, fact: str) -> None:
    if fact == "scope LOCAL":
        case.nation = None
    elif fact == "nation away":
        case.nation = model.SOURCE_UNAVAILABLE
    elif fact == "policy away":
        case.policy_is_away = True
    elif fact == "own away":
        case.results_are_away = True
    else:
        raise AssertionError(f"{case.name}: {fact} is no fact of the table")


def _report(text: str, count: int) -> Report:
    times = {key: instant(time) for key, time in re.findall(rf"\b([sr])=({TIME})", text)}
    words: dict[str, str] = {"number": f"N{count}"}
    for word in re.sub(rf" [sr]={TIME}", "", text).split()[1:]:
        key, _, value = word.partition("=")
        words[key] = value
    if "nonumber" in words:
        words["number"] = ""
    return Report(OUTCOMES[text.split(maxsplit=1)[0]], words, times.get("s"), times.get("r"))


def _item(report: Report) -> str:
    name = report.words.get("item", "nucleic")
    return parse_item(ITEMS.get(name, f"items/{name}"))


def _lab_shown(report: Report) -> str:
    """Return the laboratory that a report shows by its code; empty if the report shows a name or nothing."""
    return "" if "name" in report.words or "nolab" in report.words else report.words.get("by", "A")


def _state(is_away: bool) -> lookup_pb2.SourceState.ValueType:
    return model.SOURCE_UNAVAILABLE if is_away else model.SOURCE_OK


def _publish(policies: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[policy_pb2.Policy, int]]:
    """Yield each policy with its revision. "venue@2" is the second revision of "venue"."""
    for name, facts in policies.items():
        policy_id, _, revision = name.partition("@")
        policy = policy_pb2.Policy(
            name=f"jurisdictions/{facts['at']}/policies/{policy_id}",
            title="made up",
            purposes=[purpose_pb2.Purpose.Value(f"PURPOSE_{one}") for one in facts.get("for", ())],
            origin={"same": 2, "other": 3}.get(facts.get("origin", ""), 0),  # type: ignore[arg-type]
            forbidden_grounds=[
                refusal_ground_pb2.RefusalGround.Value(f"REFUSAL_GROUND_{one}") for one in facts.get("forbid", ())
            ],
            floor=facts.get("floor", False),
            effective_start_time=to_timestamp(instant(facts["from"])),
        )
        if "to" in facts:
            policy.effective_end_time.CopyFrom(to_timestamp(instant(facts["to"])))
        if facts.get("none"):
            policy.not_required.SetInParent()
        else:
            _require(policy.test_required, facts)
        yield policy, int(revision or 1)


def _require(required: policy_pb2.TestRequired, facts: Mapping[str, Any]) -> None:
    required.SetInParent()
    basis = BASES[facts.get("basis", "report")]
    if facts.get("floor"):
        if "basis" in facts:
            required.window.basis = basis
        if "least" in facts:
            _set_length(required.shortest_window, facts["least"])
        return
    _set_length(required.window, facts["window"])
    required.window.basis = basis
    required.refusal_permitted = facts.get("refuse", False)
    if "proof" in facts:
        required.sampling_proof_window.seconds = _seconds(facts["proof"])
    for item, window in facts.get("accept", {}).items():
        accepted = required.accepted.add(item=ITEMS[item])
        if window != "same":
            _set_length(accepted.window, window)
            accepted.window.basis = basis
    required.adverse_items.extend(ITEMS[item] for item in facts.get("adverse", ()))
    if "stands" in facts:
        required.adverse_window.seconds = _seconds(facts["stands"])


def _set_length(window: policy_pb2.ValidityWindow | policy_pb2.ShortestWindow, text: str) -> None:
    if text.endswith("d"):
        window.calendar_days = int(text[:-1])
        return
    window.duration.seconds = _seconds(text.rstrip("!"))
    window.includes_boundary = text.endswith("!")


def _seconds(hours: str) -> int:
    return int(hours.removesuffix("h")) * HOUR // 1_000_000
