"""Converts decisions, with the evidence and sources that they name, to messages."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.verification.v1 import decision_pb2, evidence_pb2
from hutong_texts import english

from services.domain.instant import Instant, optional_timestamp, set_timestamp
from services.domain.names import format_item
from services.verification.decision.actions import GateRow
from services.verification.decision.convert import set_source
from services.verification.decision.model import (
    NO_DOCUMENT,
    Considered,
    Decision,
    EffectivePolicy,
    Evidence,
    Inputs,
    NextStep,
    PolicyDocument,
    Record,
    SourceStatus,
)

if TYPE_CHECKING:
    from services.verification.decision.model import NextStepAction

_DESCRIPTIONS: dict[NextStepAction, str] = {
    next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT: (
        "its holder has this report in hand and no record of it was found: ask the laboratory to upload it"
    ),
    next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE: (
        "what was shown differs from the record of this report, is denied by its laboratory, or cannot be compared with"
        " a record: an officer ought to examine it"
    ),
    next_step_pb2.NEXT_STEP_ACTION_CONFIRM_CLEARANCE: (
        "this negative is later than the recorded positive and is not recorded: an officer ought to have its laboratory"
        " confirm and upload it"
    ),
    next_step_pb2.NEXT_STEP_ACTION_RECHECK_SINGLE_TUBE: (
        "the pool was positive, which says nothing yet of the person: a single-tube recheck is needed"
    ),
    next_step_pb2.NEXT_STEP_ACTION_ASK_AGAIN: "the source did not answer: ask again; nobody is refused for it",
}
COMPARE_NAME = english(
    "Compare the number and the name with the document: a laboratory may also have misspelled the name."
)
"""The advice in every decision with the reason NO_RESULT. A name that fits no record gives the same answer as a person
without records."""


def decision_to_proto(decision: Decision, inputs: Inputs, name: str = "") -> decision_pb2.Decision:
    """Return the message of a decision. `name` is empty if it is not stored."""
    message = decision_pb2.Decision()
    fill_decision(message, decision, inputs, name)
    return message


def fill_decision(message: decision_pb2.Decision, decision: Decision, inputs: Inputs, name: str = "") -> None:
    """Write a decision into an empty message, as `decision_to_proto` returns it.

    Every decision is encoded here, so speed matters. The function sets fields one by one, sets times in place, and
    copies the encoded bytes of what many decisions share. This takes a sixth of the time of building each part as a
    message.
    """
    message.MergeFromString(_encode_rule(decision.policy, decision.gate) + _encode_sources(decision.sources))
    set_timestamp(message.use_time, inputs.use_time)
    set_timestamp(message.evaluate_time, inputs.evaluate_time)
    if name:
        message.name = name
    message.outcome = decision.outcome
    message.reason = decision.reason
    message.basis = decision.basis
    message.result = decision.result
    if decision.basis_time is not None:
        set_timestamp(message.basis_time, decision.basis_time)
    if decision.expire_time is not None:
        set_timestamp(message.expire_time, decision.expire_time)
    for considered in decision.considered:
        _add_considered(considered, message)
    for next_step in decision.next_steps:
        _set_next_step(next_step, inputs.evaluate_time, message.next_steps.add())
    if decision.refusal_permitted:
        message.refusal_permitted = True
    if decision.assumed_origin:
        message.assumed_origin = decision.assumed_origin
    if decision.item:
        message.item = format_item(decision.item)


@lru_cache(maxsize=256)
def _encode_rule(policy: EffectivePolicy | None, gate: GateRow) -> bytes:
    """Return the encoded policy and action of a decision. A place's decisions share these until a policy changes."""
    message = decision_pb2.Decision(
        action=gate.action,
        then_action=gate.then_action,
        must_register=gate.must_register,
        action_text=gate.text,
    )
    if policy is not None:
        message.governing_policy = policy.governing
        message.floor_policy = policy.floor
        _set_document(message.governing_source, policy.governing_document)
        _set_document(message.floor_source, policy.floor_document)
        message.forbidden_grounds.extend(policy.forbidden_grounds)
        message.advice.extend(policy.advice)
    if gate.reason == decision_pb2.DECISION_REASON_NO_RESULT:
        message.advice.append(COMPARE_NAME)
    return message.SerializeToString()


@lru_cache(maxsize=256)
def _encode_sources(sources: tuple[SourceStatus, ...]) -> bytes:
    """Return the encoded sources of a decision. Decisions from one look-up share these."""
    message = decision_pb2.Decision()
    for status in sources:
        fill_source(message.sources.add(), status)
    return message.SerializeToString()


def _set_document(message: policy_pb2.PolicySource, document: PolicyDocument) -> None:
    """Write the document of a policy. If none is known, the field stays absent."""
    if document != NO_DOCUMENT:
        message.MergeFrom(policy_pb2.PolicySource(**document._asdict()))


def _add_considered(considered: Considered, message: decision_pb2.Decision) -> None:
    added = message.considered.add()
    added.use = considered.use
    if considered.expire_time is not None:
        set_timestamp(added.expire_time, considered.expire_time)
    subject = considered.subject
    if isinstance(subject, Record):
        added.result = f"{subject.name}@{subject.revision}"
        if subject.item:
            added.item = format_item(subject.item)
    else:
        added.evidence.CopyFrom(evidence_to_proto(subject))
        added.differing_fields.extend(considered.differing_fields)
        if (answer := considered.lab_answer) is not None:
            added.lab_answer.answer = answer.answer
            set_timestamp(added.lab_answer.answer_time, answer.answer_time)
            if answer.expected_time is not None:
                set_timestamp(added.lab_answer.expected_time, answer.expected_time)


def evidence_to_proto(evidence: Evidence) -> evidence_pb2.PresentedEvidence:
    """Return the message of evidence as the decision read it, with times to the microsecond."""
    return evidence_pb2.PresentedEvidence(
        channel=evidence.channel,
        lab=evidence.lab,
        report_number=evidence.report_number,
        outcome=evidence.outcome,
        sample_time=optional_timestamp(evidence.sample_time),
        report_time=optional_timestamp(evidence.report_time),
        item=format_item(evidence.item),
        lab_name=evidence.lab_name,
    )


def fill_source(message: lookup_pb2.DataSource, status: SourceStatus) -> None:
    """Write a source and its state into an empty message."""
    set_source(message, status.source)
    message.state = status.state
    if status.as_of_time is not None:
        set_timestamp(message.as_of_time, status.as_of_time)


def _set_next_step(next_step: NextStep, now: Instant, message: next_step_pb2.NextStep) -> None:
    message.action = next_step.action
    message.lab = next_step.lab
    message.report_number = next_step.report_number
    set_source(message, next_step.source)
    message.description = _DESCRIPTIONS[next_step.action]
    set_timestamp(message.create_time, now)
