"""A second, naive decider, written independently of the service: slow and plain, to compare decisions with.

Works on civil time and on lists of everything, and shares nothing with `services.verification` but the values that go
in. What a gate does is read from the table in tests/scenarios/gate_actions.csv itself.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

SHANGHAI = timezone(timedelta(hours=8))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE = list(csv.DictReader((Path(__file__).parents[2] / "scenarios/gate_actions.csv").open(encoding="utf-8")))

# Outcomes, states, standings and the rest by the contract's numbers.
PENDING, NEGATIVE, POSITIVE, POOL, INCONCLUSIVE = 1, 2, 3, 4, 5
RED_LIGHTS = (3, 4)
ANSWERED, AWAY, NOT_CONFIGURED = 1, 2, 3
EXPIRED_GROUND, POSITIVE_GROUND, FORGERY_GROUND, NO_PROOF_GROUND = 6, 7, 8, 9
DENIED = 1
BY_LAB = "denied by its laboratory"
"""The entry among the contradictions for a report that its laboratory denies."""
NATION = "nodes/000000/results"


@dataclass
class Verdict:
    """The expected decision. `line` is the matching line of the table."""

    outcome: str
    reason: str
    basis: str = ""
    result: str = ""
    expire_time: datetime | None = None
    refusal_permitted: bool = False
    contradictions: list[tuple[str, ...]] = field(default_factory=list)
    to_upload: set[tuple[str, str]] = field(default_factory=set)
    to_confirm: set[tuple[str, str]] = field(default_factory=set)
    origin: str = ""
    policy: str = ""
    item: str = ""
    line: dict[str, str] = field(default_factory=dict)


@dataclass
class Candidate:
    """A record or a piece of evidence that may count."""

    subject: Any
    recorded: bool
    standing: int
    why_not: str = ""
    lab: str = ""
    comparable: bool = True


def decide_naively(inputs: Any) -> Verdict:
    """Decide by each policy that may apply. Return the best verdict for the holder."""
    if inputs.elsewhere is None:
        return decide_by(inputs, inputs.policy, inputs.policy.forbidden_grounds if inputs.policy else ())
    forbidden = (*inputs.policy.forbidden_grounds, *inputs.elsewhere.forbidden_grounds)
    verdicts = [
        replace(decide_by(inputs, policy, forbidden), origin=origin)
        for origin, policy in (("SAME_PROVINCE", inputs.policy), ("OTHER_PROVINCE", inputs.elsewhere))
    ]
    verdicts.sort(key=standing_of)
    return verdicts[0]


def standing_of(verdict: Verdict) -> tuple[int, float, str]:
    """Return a sort key; the verdict with the smallest is the best for the holder."""
    place = ["NOT_REQUIRED", "RECOGNIZED", "UNDETERMINED", "NOT_RECOGNIZED"].index(verdict.outcome)
    later = 0.0
    if verdict.outcome == "RECOGNIZED":
        assert verdict.expire_time is not None
        later = -verdict.expire_time.timestamp()
    return place * 2 + verdict.refusal_permitted, later, verdict.policy


def decide_by(inputs: Any, policy: Any, forbidden: tuple[int, ...]) -> Verdict:
    """Return the verdict by one policy, with its line of the table."""
    if policy is None:
        verdict = Verdict("UNDETERMINED", "SOURCE_UNAVAILABLE")
    elif policy.is_lifted:
        verdict = Verdict("NOT_REQUIRED", "NO_TEST_REQUIRED")
    elif policy.governing == "":
        verdict = Verdict("UNDETERMINED", "NO_POLICY_IN_FORCE")
    elif policy.required is None:
        verdict = Verdict("NOT_REQUIRED", "NO_TEST_REQUIRED")
    else:
        verdict = decide_candidates(inputs, policy.required, forbidden)
    verdict.policy = policy.governing if policy else ""
    verdict.line = find_line(verdict, inputs, policy)
    return verdict


def asked_the_nation(inputs: Any) -> bool:
    """Return whether the scope was not LOCAL, or the node is the nation's."""
    return [
        one for one in inputs.sources if one.source == NATION and one.state in (ANSWERED, AWAY, NOT_CONFIGURED)
    ] != []


def is_any_unavailable(inputs: Any) -> bool:
    """Return whether a source did not answer or cannot be reached from here."""
    return [one for one in inputs.sources if one.state in (AWAY, NOT_CONFIGURED)] != []


def find_line(verdict: Verdict, inputs: Any, policy: Any) -> dict[str, str]:
    """Return the line of the table. If two lines match, that of the scope LOCAL applies."""
    may = "unknown"
    if policy is not None:
        may = str(policy.required is not None and policy.required.refusal_permitted).lower()
    heard = []
    if policy is None:
        heard.append("policy away")
    elif is_any_unavailable(inputs):
        heard += ["a source away", "all or a source away"]
    if not asked_the_nation(inputs):
        heard.insert(0, "scope LOCAL")
    if not heard:
        heard = ["all", "all or a source away"]
    lines = [
        line
        for line in TABLE
        if (line["outcome"], line["reason"]) == (verdict.outcome, verdict.reason)
        and line["refusal_permitted"] == str(verdict.refusal_permitted).lower()
        and line["rule_may_refuse"] in ("*", may)
        and line["heard"] in ("*", *heard)
    ]
    lines.sort(key=lambda line: line["heard"] != "scope LOCAL")
    return lines[0]


def decide_candidates(inputs: Any, rule: Any, forbidden: tuple[int, ...]) -> Verdict:
    """Return the verdict if a result is required."""
    use = moment(inputs.use_time)
    accepted = {one.item: one.window or rule.window for one in rule.accepted} or {"": rule.window}
    adverse = list(rule.adverse_items) or list(accepted)
    everything, contradictions, to_upload = collect(inputs, {*accepted, *adverse})
    for candidate in everything:
        if not candidate.why_not:
            candidate.why_not = find_fault(candidate, use, moment(inputs.evaluate_time))
    usable = [candidate for candidate in everything if not candidate.why_not]
    extras = {"contradictions": contradictions, "to_upload": to_upload}

    def may_refuse(*grounds: int) -> bool:
        permitted = [ground for ground in grounds if ground not in forbidden]
        return rule.refusal_permitted and asked_the_nation(inputs) and len(permitted) == len(grounds)

    recorded = [candidate.subject for candidate in usable if candidate.recorded]
    negatives = [one for one in recorded if one.outcome == NEGATIVE]

    def stands(one: Any) -> bool:
        if one.item not in adverse:
            return False
        if rule.adverse_window is not None:
            end = moment(one.sample_time) + timedelta(microseconds=rule.adverse_window)
            if use >= end:
                return False
        clearing = adverse[: adverse.index(one.item) + 1]
        return not any(other.sample_time > one.sample_time for other in negatives if other.item in clearing)

    for outcome, reason in ((POSITIVE, "POSITIVE_RESULT"), (POOL, "PENDING_RECHECK")):
        standing = [one for one in recorded if one.outcome == outcome and stands(one)]
        standing.sort(key=lambda one: (adverse.index(one.item), -one.sample_time, one.name))
        if standing:
            adverse_ones = [one for one in recorded if one.outcome in (POSITIVE, POOL) and stands(one)]
            clearing = find_clearing(usable, adverse_ones, accepted, adverse, rule, use)
            if clearing:
                return Verdict("UNDETERMINED", "CLEARANCE_NOT_RECORDED", to_confirm=clearing, **extras)
            return Verdict(
                "NOT_RECOGNIZED",
                reason,
                result=f"{standing[0].name}@{standing[0].revision}",
                refusal_permitted=may_refuse(POSITIVE_GROUND),
                item=standing[0].item,
                **extras,
            )
    # Results of other items than the accepted ones satisfy nothing and explain no lack.
    everything = [candidate for candidate in everything if candidate.subject.item in accepted]
    usable = [candidate for candidate in usable if candidate.subject.item in accepted]

    inside: list[tuple[datetime, bool, float, bool, str, Candidate]] = []
    expired_ends: list[datetime] = []
    sampled_only = False
    in_doubt = False
    # A report later than the use time that is not positive counts as a sampling record until its report time.
    in_the_lab = [
        candidate
        for candidate in everything
        if candidate.why_not == "NOT_YET_REPORTED" and candidate.subject.outcome in (NEGATIVE, INCONCLUSIVE)
    ]
    for candidate in usable + in_the_lab:
        subject = candidate.subject
        in_doubt = in_doubt or (candidate in usable and may_still_be_in_the_lab(subject, rule, inputs))
        name = f"{subject.name}@{subject.revision}" if candidate.recorded else ""
        sampled = -1.0 if subject.sample_time is None else subject.sample_time
        if subject.outcome == NEGATIVE and candidate not in in_the_lab:
            own = accepted[subject.item]
            held = [end_at(own, rule, start, use) for start in possible_starts(subject, own, use)]
            if all(counts for _, counts in held):
                if candidate.comparable:
                    inside.append((min(held)[0], candidate.recorded, sampled, True, name, candidate))
                else:
                    in_doubt = True
            elif not any(counts for _, counts in held):
                expired_ends.append(max(held)[0])
            else:
                in_doubt = True
        elif subject.outcome == PENDING or candidate in in_the_lab:
            window = rule.sampling_proof_window
            ahead = timedelta(minutes=1) if use == moment(inputs.evaluate_time) else timedelta()
            if subject.sample_time is not None:
                starts = [moment(subject.sample_time)]
            else:
                last = use if subject.report_time is None else min(use, moment(subject.report_time))
                starts = [EPOCH, last]
            proofs = [
                window is not None and start - ahead <= use < start + timedelta(microseconds=window) for start in starts
            ]
            if all(proofs) and candidate.comparable:
                end = starts[0] + timedelta(microseconds=window)
                inside.append((end, candidate.recorded, sampled, False, name, candidate))
            elif any(proofs):
                in_doubt = True
            else:
                sampled_only = True
    if inside:
        end, is_recorded, sampled, negative, _, _ = max(inside, key=lambda one: one[:4])
        ties = [one[4] for one in inside if one[:4] == (end, is_recorded, sampled, negative)]
        items = {one[5].subject.item for one in inside if one[:5] == (end, is_recorded, sampled, negative, min(ties))}
        return Verdict(
            "RECOGNIZED",
            "VALID",
            "RECORD" if is_recorded else "PRESENTED",
            min(ties),
            end,
            item=items.pop() if len(items) == 1 else "any",
            **extras,
        )

    if in_doubt:
        return Verdict("UNDETERMINED", "EVIDENCE_NOT_COMPARABLE", **extras)
    if any(item in accepted for item in inputs.cut_items):
        return Verdict("UNDETERMINED", "HISTORY_CUT", **extras)
    if is_any_unavailable(inputs):
        return Verdict("UNDETERMINED", "SOURCE_UNAVAILABLE", **extras)
    if not asked_the_nation(inputs):
        return Verdict("UNDETERMINED", "NATION_NOT_ASKED", **extras)
    grounds = [NO_PROOF_GROUND]
    if expired_ends:
        grounds.append(EXPIRED_GROUND)
    if contradictions:
        grounds.append(FORGERY_GROUND)
    reasons = {candidate.why_not for candidate in everything}
    if expired_ends:
        reasons.add("EXPIRED")
    if contradictions:
        reasons.add("EVIDENCE_CONTRADICTS_RECORD")
    if sampled_only:
        reasons.add("NOT_YET_REPORTED")
    if any(candidate.subject.outcome == INCONCLUSIVE for candidate in usable):
        reasons.add("INCONCLUSIVE_RESULT")
    order = [
        "EXPIRED",
        "EVIDENCE_CONTRADICTS_RECORD",
        "RESULT_RECALLED",
        "LAB_NOT_AUTHORIZED",
        "NOT_YET_REPORTED",
        "INCONCLUSIVE_RESULT",
        "NO_RESULT",
    ]
    strongest = next(reason for reason in order if reason in reasons or reason == "NO_RESULT")
    ended = max(expired_ends) if expired_ends else None
    return Verdict("NOT_RECOGNIZED", strongest, expire_time=ended, refusal_permitted=may_refuse(*grounds), **extras)


def collect(inputs: Any, items: set[str]) -> tuple[list[Candidate], list[tuple[str, ...]], set[tuple[str, str]]]:
    """Return the newest records and the evidence without a record, the contradictions, and the reports to upload."""
    known = list(inputs.records)
    if not inputs.own_records_alone:
        known += [claim.record for claim in inputs.claims if claim.record is not None]
        known += [record for claim in inputs.claims for record in claim.possible]
    names = {record.name for record in known}
    newest = [max((one for one in known if one.name == name), key=lambda one: one.revision) for name in sorted(names)]
    candidates = [Candidate(record, True, record.lab_standing) for record in newest if record.item in items]
    for candidate in candidates:
        if candidate.subject.state != 1:
            candidate.why_not = "RESULT_RECALLED"
    contradictions: list[tuple[str, ...]] = []
    to_upload: set[tuple[str, str]] = set()
    for shown, claim in zip(inputs.evidence, inputs.claims, strict=True):
        if shown.item not in items or claim.state == 4:
            continue
        # A code wins over a name. The registers resolve names.
        lab = shown.lab if shown.lab else claim.lab
        standing, is_sure = claim.lab_standing, True
        if (shown.sample_time if shown.outcome == PENDING else shown.report_time) is None:
            # The paper lacks the time at which its laboratory must have been authorised.
            standing, is_sure = 0, claim.lab_standing not in RED_LIGHTS
        if lab == "" or shown.report_number == "":
            numbers = {(r.lab, r.report_number) for r in claim.possible}
            of_number = [r for r in newest if (r.lab, r.report_number) in numbers and r.item == shown.item]
            if not any(equals(shown, r) for r in of_number) and not inputs.own_records_alone:
                candidates.append(Candidate(shown, False, standing, lab=lab, comparable=False))
            continue
        record = next((r for r in newest if (r.lab, r.report_number) == (lab, shown.report_number)), None)
        if record is not None and record.item != shown.item:
            continue
        differing: list[str] = []
        if record is None and claim.state == 2:
            differing = ["person"]
        if record is not None:
            both_reported = (shown.outcome == PENDING) == (record.outcome == PENDING)
            if both_reported and shown.outcome != record.outcome:
                differing.append("outcome")
            if both_reported and shown.report_time is not None and not alike(shown.report_time, record.report_time):
                differing.append("report_time")
            if shown.sample_time is not None and not alike(shown.sample_time, record.sample_time):
                differing.append("sample_time")
        if record is None and claim.state == 3 and claim.answer is not None and claim.answer.answer == DENIED:
            differing = [BY_LAB]
        if differing:
            contradictions.append(tuple(differing))
        elif inputs.own_records_alone:
            continue
        elif record is None or (record.outcome == PENDING and shown.outcome != PENDING):
            candidates.append(Candidate(shown, False, standing, lab=lab, comparable=is_sure))
            to_upload.add((lab, shown.report_number))
    return candidates, contradictions, to_upload


def may_still_be_in_the_lab(subject: Any, rule: Any, inputs: Any) -> bool:
    """Return whether a paper without a report time may be a report to come, and then counts by its sampling."""
    if subject.outcome not in (NEGATIVE, INCONCLUSIVE) or subject.report_time is not None:
        return False
    use, now = moment(inputs.use_time), moment(inputs.evaluate_time)
    ahead = timedelta(minutes=1) if use == now else timedelta()
    if rule.sampling_proof_window is None or use + ahead >= now + timedelta(minutes=5):
        return False
    if subject.sample_time is None:
        return True
    sampled = moment(subject.sample_time)
    return sampled - ahead <= use < sampled + timedelta(microseconds=rule.sampling_proof_window)


def equals(shown: Any, record: Any) -> bool:
    """Return whether a paper agrees with a record. A paper that shows only the sampling agrees too."""
    if record.outcome == PENDING and shown.outcome != PENDING:
        return False
    times = [(shown.sample_time, record.sample_time)]
    if shown.outcome != PENDING or record.outcome == PENDING:
        if shown.outcome != record.outcome:
            return False
        times.append((shown.report_time, record.report_time))
    return all(one is None or alike(one, other) for one, other in times)


def possible_starts(subject: Any, window: Any, use: datetime) -> list[datetime]:
    """Return the earliest and the latest instant from which a negative may count.

    They are equal if the paper shows the instant.
    """
    sampled, reported = subject.sample_time, subject.report_time
    if window.basis == 1:
        if reported is not None:
            return [moment(reported)]
        earliest = EPOCH if sampled is None else moment(sampled)
        # A sample time may be up to a minute ahead of the time of use, and no report is issued before its sample.
        return [earliest, max(earliest, use)]
    if sampled is not None:
        return [moment(sampled)]
    return [EPOCH, use if reported is None else moment(reported)]


def end_at(own: Any, rule: Any, start: datetime, use: datetime) -> tuple[datetime, bool]:
    """Return when a negative that counts from `start` ends, and whether it counts at the time of use."""
    ends = [(end_of(window, start), window) for window in (own, *rule.shortest_windows)]
    end = max(one for one, _ in ends)
    boundary = [one for one, window in ends if window.includes_boundary and window.calendar_days is None]
    return end, use < end or (end in boundary and use == end)


def find_clearing(
    usable: list[Candidate], standing: list[Any], accepted: Any, adverse: Any, rule: Any, use: datetime
) -> set[tuple[str, str]]:
    """Return the reports in hand that count and would clear all positives and pools that stand."""
    found = set()
    for candidate in usable:
        subject = candidate.subject
        if candidate.recorded or not candidate.comparable or subject.outcome != NEGATIVE:
            continue
        if subject.item not in accepted or subject.sample_time is None:
            continue
        own = accepted[subject.item]
        counts = all(end_at(own, rule, start, use)[1] for start in possible_starts(subject, own, use))
        heavy = [subject.item in adverse[: adverse.index(one.item) + 1] for one in standing]
        if counts and all(heavy) and all(subject.sample_time > one.sample_time for one in standing):
            found.add((candidate.lab, subject.report_number))
    return found


def find_fault(candidate: Candidate, use: datetime, now: datetime) -> str:
    """Return why a candidate cannot count, or an empty text."""
    subject = candidate.subject
    if not candidate.recorded and (subject.sample_time, subject.report_time) == (None, None):
        return ""
    if candidate.standing in RED_LIGHTS:
        return "LAB_NOT_AUTHORIZED"
    stages = [
        subject.sample_time,
        getattr(subject, "receive_time", None),
        getattr(subject, "test_time", None),
        subject.report_time,
    ]
    times = [moment(stage) for stage in stages if stage is not None]
    if times != sorted(times) or any(one > now + timedelta(minutes=5) for one in times):
        return "TIMES"
    if subject.outcome != PENDING:
        if candidate.recorded and subject.report_time is None:
            return "TIMES"
        # For a question about now, another node's clock may be up to a minute ahead.
        ahead = timedelta(minutes=1) if use == now else timedelta()
        if moment(subject.sample_time if subject.report_time is None else subject.report_time) > use + ahead:
            return "NOT_YET_REPORTED"
    return ""


def alike(shown: int, recorded: int | None) -> bool:
    """Return whether two times are equal to the second, or to the minute if the shown one has no seconds."""
    if recorded is None:
        return False
    one, other = moment(shown), moment(recorded)
    if one.replace(microsecond=0) == other.replace(microsecond=0):
        return True
    return one.second == 0 and one.replace(microsecond=0) == other.replace(second=0, microsecond=0)


def end_of(window: Any, start: datetime) -> datetime:
    """Return the end of a window that begins at `start`. The window may be a floor's shortest window."""
    if window.duration is not None:
        return start + timedelta(microseconds=window.duration)
    day = start.astimezone(SHANGHAI).date() + timedelta(days=window.calendar_days + 1)
    return datetime.combine(day, time(), SHANGHAI)


def moment(instant: int) -> datetime:
    """Return an instant in civil time."""
    return EPOCH + timedelta(microseconds=instant)
