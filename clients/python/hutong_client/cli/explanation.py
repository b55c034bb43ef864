"""Explain a decision in words: its outcome, policy and expiry, and the use of each record and piece of evidence."""

from __future__ import annotations

from collections.abc import Callable

from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.type.v1 import channel_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.formatting import item_name, moment, source_name, word
from hutong_client.policies.rules import describe_origin, describe_source

Decision = decision_pb2.Decision

REASONS = {
    decision_pb2.DECISION_REASON_VALID: "a negative result inside the window",
    decision_pb2.DECISION_REASON_NO_TEST_REQUIRED: "no result is required here",
    decision_pb2.DECISION_REASON_EXPIRED: "the negative result is outside the window",
    decision_pb2.DECISION_REASON_POSITIVE_RESULT: "a positive result that no later negative has cleared",
    decision_pb2.DECISION_REASON_PENDING_RECHECK: "a positive pool awaits its recheck; not a positive person",
    decision_pb2.DECISION_REASON_INCONCLUSIVE_RESULT: "the assay gave no usable answer",
    decision_pb2.DECISION_REASON_RESULT_RECALLED: "the result was recalled",
    decision_pb2.DECISION_REASON_LAB_NOT_AUTHORIZED: "the laboratory was not authorised when it issued the report",
    decision_pb2.DECISION_REASON_NOT_YET_REPORTED: "sampled, but the report is not issued yet",
    decision_pb2.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD: "the evidence differs from the record of its report",
    decision_pb2.DECISION_REASON_NO_RESULT: "nothing that counts was shown or is on record",
    decision_pb2.DECISION_REASON_NO_POLICY_IN_FORCE: "no policy is in force for this region, purpose and time",
    decision_pb2.DECISION_REASON_SOURCE_UNAVAILABLE: "a source did not answer; this is no ground to refuse the holder",
    decision_pb2.DECISION_REASON_NATION_NOT_ASKED: "nothing that counts is recorded here, and the nation was not asked",
    decision_pb2.DECISION_REASON_HISTORY_CUT: "what counted at that time may be hidden or removed",
    decision_pb2.DECISION_REASON_EVIDENCE_NOT_COMPARABLE: "the evidence cannot be compared with a record",
    decision_pb2.DECISION_REASON_CLEARANCE_NOT_RECORDED: "a later negative is shown and not recorded",
}
USES = {
    decision_pb2.EVIDENCE_USE_USED: "used",
    decision_pb2.EVIDENCE_USE_OTHER_EXPIRES_LATER: "valid, but another result stays valid longer",
    decision_pb2.EVIDENCE_USE_EXPIRED: "not used: outside the window",
    decision_pb2.EVIDENCE_USE_RECALLED: "not used: recalled",
    decision_pb2.EVIDENCE_USE_LAB_NOT_AUTHORIZED: "not used: the laboratory was not authorised at that time",
    decision_pb2.EVIDENCE_USE_NOT_YET_REPORTED: "not used: reported after the time of use",
    decision_pb2.EVIDENCE_USE_TIMES_IMPOSSIBLE: "not used: its times are impossible",
    decision_pb2.EVIDENCE_USE_CONTRADICTS_RECORD: "not used: differs from the record",
    decision_pb2.EVIDENCE_USE_SAME_AS_RECORD: "the same as its record, which is used instead",
    decision_pb2.EVIDENCE_USE_NOT_COMPARABLE: (
        "kept for an officer: it cannot be compared with a record, or lacks the time to count from"
    ),
    decision_pb2.EVIDENCE_USE_WOULD_CLEAR: "kept for an officer: it would clear the positive if it were recorded",
    decision_pb2.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED: "not used: a sampling record does not count here",
    decision_pb2.EVIDENCE_USE_INCONCLUSIVE: "not used: the assay gave no usable answer",
    decision_pb2.EVIDENCE_USE_GOVERNS: "governs",
    decision_pb2.EVIDENCE_USE_CLEARED: "cleared by a later negative",
    decision_pb2.EVIDENCE_USE_OUTWEIGHED: "not used: a positive or a pool outweighs it",
    decision_pb2.EVIDENCE_USE_NOT_RECORDED: "shown but not on record, so it does not govern",
    decision_pb2.EVIDENCE_USE_NOT_NEEDED: "not needed",
    decision_pb2.EVIDENCE_USE_OTHER_ITEM: "no effect: a test of another item than the place asks for",
    decision_pb2.EVIDENCE_USE_NOT_ADVERSE: "no effect: such a positive does not stand against the holder, or no longer",
    decision_pb2.EVIDENCE_USE_ITEM_NOT_ACCEPTED: "not used: an item that the place does not accept",
}
ACTIONS = {
    decision_pb2.GATE_ACTION_LET_IN: "let in",
    decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER: "let in and register",
    decision_pb2.GATE_ACTION_ASK_AGAIN: "ask again",
    decision_pb2.GATE_ACTION_MAY_BE_REFUSED: "may be refused",
}
AFTER_ERROR = "ask again, then let in"
"""What a gate does if the question could not be answered. The holder is never at fault."""
_EXIT_CODES = {
    decision_pb2.DECISION_OUTCOME_RECOGNIZED: ExitCode.DONE,
    decision_pb2.DECISION_OUTCOME_NOT_REQUIRED: ExitCode.DONE,
    decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED: ExitCode.NOT_RECOGNIZED,
}


def exit_code_of(decision: Decision) -> ExitCode:
    """Return the exit code of `hutong verify` for one decision."""
    return _EXIT_CODES.get(decision.outcome, ExitCode.UNDETERMINED)


def summarize(decision: Decision) -> str:
    """Summarise a decision in one line: "RECOGNIZED, VALID until 2022-08-11 09:30:00; gate: let in"."""
    gate = f"; gate: {_action(decision)}" if decision.action else ""
    return f"{describe_outcome(decision)}{gate}"


def describe_outcome(decision: Decision) -> str:
    """Describe a decision's outcome and reason: "RECOGNIZED, VALID until 2022-08-11 09:30:00".

    The item of the result follows the reason unless it is the default item.
    """
    outcome = decision_pb2.DecisionOutcome.Name(decision.outcome).removeprefix("DECISION_OUTCOME_")
    reason = decision_pb2.DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_")
    return f"{outcome.replace('_', ' ')}, {reason}{_item(decision.item)}{_expiry(decision)}"


def explain(decision: Decision, title_of: Callable[[str], str]) -> list[str]:
    """Explain a decision in full, line by line. `title_of` returns a policy's title, or an empty text."""
    lines = [summarize(decision), f"  Why: {REASONS.get(decision.reason, '')}"]
    if decision.masked_name:
        lines.append(f"  Holder: {decision.masked_name}")
    lines += _facts(decision, title_of)
    if decision.considered:
        lines.append("  Weighed:")
        lines += [f"    {_subject(item)}: {_use(item)}" for item in decision.considered]
    lines += [
        f"  Source {source_name(source)}: {word(lookup_pb2.SourceState, source.state, 'SOURCE_STATE_')}"
        for source in decision.sources
    ]
    lines += [f"  To do: {_next_step(item)}" for item in decision.next_steps]
    lines += [f"  Advice: {text}" for text in decision.advice]
    if decision.action_text:
        lines.append(f"  At the gate: {decision.action_text}")
    if decision.refusal_permitted:
        lines.append("  The policy permits a refusal.")
    if decision.forbidden_grounds:
        grounds = (word(refusal_ground_pb2.RefusalGround, it, "REFUSAL_GROUND_") for it in decision.forbidden_grounds)
        lines.append(f"  Forbidden grounds of refusal: {', '.join(grounds)}")
    if decision.name:
        lines.append(f"  Stored as {decision.name}")
    return lines


def _facts(decision: Decision, title_of: Callable[[str], str]) -> list[str]:
    facts = [("Policy", decision.governing_policy), ("Floor", decision.floor_policy)]
    lines = [f"  {what}: {name} {title_of(name)}".rstrip() for what, name in facts if name]
    documents = [("Document", decision.governing_source), ("Document of the floor", decision.floor_source)]
    lines += [f"  {what}: {document}" for what, source in documents if (document := describe_source(source))]
    if decision.assumed_origin:
        lines.append(
            f"  Origin not known; the better policy is for people from {describe_origin(decision.assumed_origin)}"
        )
    if decision.basis == decision_pb2.DECISION_BASIS_PRESENTED:
        lines.append("  Evidence: shown by the holder, with equal force; the laboratory is asked to upload the report")
    elif decision.result:
        lines.append(f"  Record: {decision.result}")
    if decision.HasField("basis_time"):
        lines.append(f"  Counted from: {moment(decision.basis_time)}")
    if decision.HasField("use_time"):
        lines.append(f"  Asked for: {moment(decision.use_time)} (Asia/Shanghai)")
    return lines


def _action(decision: Decision) -> str:
    """Describe what the gate does: "ask again, then let in"."""
    words = ACTIONS.get(decision.action, str(decision.action))
    if decision.then_action:
        words += f", then {ACTIONS.get(decision.then_action, str(decision.then_action))}"
    if decision.must_register and decision.action != decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER:
        words += ", and register"
    return words


def _expiry(decision: Decision) -> str:
    if not decision.HasField("expire_time"):
        return ""
    since = decision.outcome == decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED
    return f" {'since' if since else 'until'} {moment(decision.expire_time)}"


def _item(item: str) -> str:
    """Return a test item in brackets after a space; an empty text for the default item."""
    name = item_name(item)
    return "" if name == item_name("") else f" ({name})"


def _subject(item: decision_pb2.Considered) -> str:
    if item.WhichOneof("subject") == "result":
        return f"{item.result}{_item(item.item)}"
    channel = word(channel_pb2.Channel, item.evidence.channel, "CHANNEL_")
    lab = f", of {item.evidence.lab_name}" if item.evidence.lab_name else ""
    return f"{channel}, report {item.evidence.report_number or 'without a number'}{lab}{_item(item.evidence.item)}"


def _use(item: decision_pb2.Considered) -> str:
    differing = f" in {', '.join(item.differing_fields)}" if item.differing_fields else ""
    expiry = f" ({moment(item.expire_time)})" if item.HasField("expire_time") else ""
    return f"{USES.get(item.use, str(item.use))}{differing}{expiry}"


def _next_step(item: next_step_pb2.NextStep) -> str:
    return item.description or word(next_step_pb2.NextStepAction, item.action, "NEXT_STEP_ACTION_")
