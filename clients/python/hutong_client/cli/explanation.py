"""Explain a decision in words: its outcome, policy and expiry, and the use of each record and piece of evidence."""

from __future__ import annotations

from collections.abc import Callable

from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.type.v1 import channel_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2
from hutong_texts import ENGLISH, current_language, english, list_words, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.output import labelled
from hutong_client.formatting import item_name, label, moment, source_name, word
from hutong_client.policies.rules import describe_origin, describe_source

Decision = decision_pb2.Decision

REASONS = {
    decision_pb2.DECISION_REASON_VALID: english("a negative result or an accepted sampling record inside its window"),
    decision_pb2.DECISION_REASON_NO_TEST_REQUIRED: english("no result is required here"),
    decision_pb2.DECISION_REASON_EXPIRED: english("the negative result is outside the window"),
    decision_pb2.DECISION_REASON_POSITIVE_RESULT: english("a positive result that no later negative has cleared"),
    decision_pb2.DECISION_REASON_PENDING_RECHECK: english("a positive pool awaits its recheck; not a positive person"),
    decision_pb2.DECISION_REASON_INCONCLUSIVE_RESULT: english("the assay gave no usable answer"),
    decision_pb2.DECISION_REASON_RESULT_RECALLED: english("the result was recalled"),
    decision_pb2.DECISION_REASON_LAB_NOT_AUTHORIZED: english(
        "the laboratory was not authorised when it issued the report"
    ),
    decision_pb2.DECISION_REASON_NOT_YET_REPORTED: english("sampled, but the report is not issued yet"),
    decision_pb2.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD: english(
        "the evidence differs from the record of its report, or its laboratory denies the report"
    ),
    decision_pb2.DECISION_REASON_NO_RESULT: english("nothing that counts was shown or is on record"),
    decision_pb2.DECISION_REASON_NO_POLICY_IN_FORCE: english("no policy is in force for this region, purpose and time"),
    decision_pb2.DECISION_REASON_SOURCE_UNAVAILABLE: english(
        "a source did not answer; this is no ground to refuse the holder"
    ),
    decision_pb2.DECISION_REASON_NATION_NOT_ASKED: english(
        "nothing that counts is recorded here, and the nation was not asked"
    ),
    decision_pb2.DECISION_REASON_HISTORY_CUT: english("what counted at that time may be hidden or removed"),
    decision_pb2.DECISION_REASON_EVIDENCE_NOT_COMPARABLE: english("the evidence cannot be compared with a record"),
    decision_pb2.DECISION_REASON_CLEARANCE_NOT_RECORDED: english("a later negative is shown and not recorded"),
}
USES = {
    decision_pb2.EVIDENCE_USE_USED: english("used"),
    decision_pb2.EVIDENCE_USE_OTHER_EXPIRES_LATER: english("valid, but another result stays valid longer"),
    decision_pb2.EVIDENCE_USE_EXPIRED: english("not used: outside the window"),
    decision_pb2.EVIDENCE_USE_RECALLED: english("not used: recalled"),
    decision_pb2.EVIDENCE_USE_LAB_NOT_AUTHORIZED: english("not used: the laboratory was not authorised at that time"),
    decision_pb2.EVIDENCE_USE_NOT_YET_REPORTED: english("not used: reported after the time of use"),
    decision_pb2.EVIDENCE_USE_TIMES_IMPOSSIBLE: english("not used: its times are impossible"),
    decision_pb2.EVIDENCE_USE_CONTRADICTS_RECORD: english("not used: differs from the record"),
    decision_pb2.EVIDENCE_USE_DENIED_BY_LAB: english("not used: its laboratory states that it is not its report"),
    decision_pb2.EVIDENCE_USE_SAME_AS_RECORD: english("the same as its record, which is used instead"),
    decision_pb2.EVIDENCE_USE_NOT_COMPARABLE: (
        english("kept for an officer: it cannot be compared with a record, or lacks the time to count from")
    ),
    decision_pb2.EVIDENCE_USE_WOULD_CLEAR: english(
        "kept for an officer: it would clear the positive if it were recorded"
    ),
    decision_pb2.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED: english("not used: a sampling record does not count here"),
    decision_pb2.EVIDENCE_USE_INCONCLUSIVE: english("not used: the assay gave no usable answer"),
    decision_pb2.EVIDENCE_USE_GOVERNS: english("governs"),
    decision_pb2.EVIDENCE_USE_CLEARED: english("cleared by a later negative"),
    decision_pb2.EVIDENCE_USE_OUTWEIGHED: english("not used: a positive or a pool outweighs it"),
    decision_pb2.EVIDENCE_USE_NOT_RECORDED: english("shown but not on record, so it does not govern"),
    decision_pb2.EVIDENCE_USE_NOT_NEEDED: english("not needed"),
    decision_pb2.EVIDENCE_USE_OTHER_ITEM: english("no effect: a test of another item than the place asks for"),
    decision_pb2.EVIDENCE_USE_NOT_ADVERSE: english(
        "no effect: such a positive does not stand against the holder, or no longer"
    ),
    decision_pb2.EVIDENCE_USE_ITEM_NOT_ACCEPTED: english("not used: an item that the place does not accept"),
}
ACTIONS: dict[int, str] = {
    decision_pb2.GATE_ACTION_LET_IN: english("let in"),
    decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER: english("let in and register"),
    decision_pb2.GATE_ACTION_ASK_AGAIN: english("ask again"),
    decision_pb2.GATE_ACTION_MAY_BE_REFUSED: english("may be refused"),
}
_FIELDS = {
    "outcome": english("outcome"),
    "report_time": english("reported"),
    "sample_time": english("sampled"),
    "person": english("Person"),
}
"""Words for the fields in which evidence and its record may differ. In English the fields' own names are shown."""
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
    gate = tr("; gate: {decision}", decision=_action(decision)) if decision.action else ""
    return f"{describe_outcome(decision)}{gate}"


def describe_outcome(decision: Decision) -> str:
    """Describe a decision's outcome and reason: "RECOGNIZED, VALID until 2022-08-11 09:30:00".

    The item of the result follows the reason unless it is the default item.
    """
    outcome = label(decision_pb2.DecisionOutcome, decision.outcome, "DECISION_OUTCOME_")
    return tr(
        "{outcome}, {reason}{item}{expiry}",
        outcome=outcome.replace("_", " "),
        reason=label(decision_pb2.DecisionReason, decision.reason, "DECISION_REASON_"),
        item=_item(decision.item),
        expiry=_expiry(decision),
    )


def explain(decision: Decision, title_of: Callable[[str], str]) -> list[str]:
    """Explain a decision in full, line by line. `title_of` returns a policy's title, or an empty text."""
    lines = [summarize(decision), tr("  Why: {reason}", reason=tr(REASONS.get(decision.reason, "")))]
    if decision.masked_name:
        lines.append(tr("  Holder: {masked_name}", masked_name=decision.masked_name))
    lines += _facts(decision, title_of)
    if decision.considered:
        lines.append(tr("  Weighed:"))
        lines += [f"    {_subject(item)}: {_use(item)}" for item in decision.considered]
    lines += [
        tr(
            "  Source {source}: {state}",
            source=source_name(source),
            state=word(lookup_pb2.SourceState, source.state, "SOURCE_STATE_"),
        )
        for source in decision.sources
    ]
    lines += [tr("  To do: {item}", item=describe_next_step(item)) for item in decision.next_steps]
    lines += [tr("  Advice: {advice}", advice=tr(advice)) for advice in decision.advice]
    if decision.action_text:
        lines.append(tr("  At the gate: {action_text}", action_text=tr(decision.action_text)))
    if decision.refusal_permitted:
        lines.append(tr("  The policy permits a refusal."))
    if decision.forbidden_grounds:
        grounds = (word(refusal_ground_pb2.RefusalGround, it, "REFUSAL_GROUND_") for it in decision.forbidden_grounds)
        lines.append(tr("  Forbidden grounds of refusal: {grounds}", grounds=list_words(grounds)))
    if decision.name:
        lines.append(tr("  Stored as {name}", name=decision.name))
    return lines


def _facts(decision: Decision, title_of: Callable[[str], str]) -> list[str]:
    facts = [(tr("Policy"), decision.governing_policy), (tr("Floor"), decision.floor_policy)]
    lines = [labelled(what, f"{name} {title_of(name)}".rstrip()) for what, name in facts if name]
    documents = [(tr("Document"), decision.governing_source), (tr("Document of the floor"), decision.floor_source)]
    lines += [labelled(what, document) for what, source in documents if (document := describe_source(source))]
    if origin := explain_origin(decision):
        lines.append(origin)
    if decision.basis == decision_pb2.DECISION_BASIS_PRESENTED:
        lines.append(
            tr("  Evidence: shown by the holder, with equal force; the laboratory is asked to upload the report")
        )
    elif decision.result:
        lines.append(tr("  Record: {result}", result=decision.result))
    if decision.HasField("basis_time"):
        lines.append(tr("  Counted from: {basis_time}", basis_time=moment(decision.basis_time)))
    if decision.HasField("use_time"):
        lines.append(tr("  Asked for: {use_time} (Asia/Shanghai)", use_time=moment(decision.use_time)))
    return lines


def explain_origin(decision: Decision) -> str:
    """If the origin is not known, return a line that names the origin of the better policy; else an empty text."""
    if not decision.assumed_origin:
        return ""
    return tr(
        "  Origin not known; the better policy is for people from {assumed_origin}",
        assumed_origin=describe_origin(decision.assumed_origin),
    )


def _action(decision: Decision) -> str:
    """Describe what the gate does: "ask again, then let in"."""
    words = _describe_action(decision.action)
    if decision.then_action:
        words += tr(", then {then_action}", then_action=_describe_action(decision.then_action))
    if decision.must_register and decision.action != decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER:
        words += tr(", and register")
    return words


def _describe_action(action: int) -> str:
    return tr(ACTIONS[action]) if action in ACTIONS else str(action)


def _expiry(decision: Decision) -> str:
    if not decision.HasField("expire_time"):
        return ""
    since = decision.outcome == decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED
    if since:
        return tr(" since {expire_time}", expire_time=moment(decision.expire_time))
    return tr(" until {expire_time}", expire_time=moment(decision.expire_time))


def _item(item: str) -> str:
    """Return a test item in brackets after a space; an empty text for the default item."""
    name = item_name(item)
    return "" if name == item_name("") else f" ({name})"


def _subject(item: decision_pb2.Considered) -> str:
    if item.WhichOneof("subject") == "result":
        return f"{item.result}{_item(item.item)}"
    channel = word(channel_pb2.Channel, item.evidence.channel, "CHANNEL_")
    lab = tr(", of {lab_name}", lab_name=item.evidence.lab_name) if item.evidence.lab_name else ""
    return tr(
        "{channel}, report {number}{lab}{item}",
        channel=channel,
        number=item.evidence.report_number or tr("without a number"),
        lab=lab,
        item=_item(item.evidence.item),
    )


def _use(item: decision_pb2.Considered) -> str:
    differing = (
        tr(" in {differing_fields}", differing_fields=list_words(map(_field_words, item.differing_fields)))
        if item.differing_fields
        else ""
    )
    expiry = f" ({moment(item.expire_time)})" if item.HasField("expire_time") else ""
    use = tr(USES[item.use]) if item.use in USES else str(item.use)
    return f"{use}{differing}{expiry}"


def _field_words(field: str) -> str:
    return field if current_language() == ENGLISH else tr(_FIELDS.get(field, field))


def describe_next_step(item: next_step_pb2.NextStep) -> str:
    """Describe a next step: in English as the service words it, in Chinese by its action."""
    if current_language() == ENGLISH and item.description:
        return item.description
    action = word(next_step_pb2.NextStepAction, item.action, "NEXT_STEP_ACTION_")
    about = " ".join(filter(None, (item.lab, item.report_number, item.node, item.results_service, item.policy_service)))
    return tr("{action}: {about}", action=action, about=about) if about else action
