"""Converts Policy's questions and answers between wire and domain."""

from __future__ import annotations

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem, ResolvePolicyRequest
from hutong.verification.v1 import decision_pb2

from services.domain.errors import Unavailable
from services.domain.instant import Instant, from_duration, from_timestamp, to_timestamp
from services.domain.names import DEFAULT_ITEM, describe_item, is_announced, parse_item, parse_items
from services.runtime.consistency import encode_token
from services.runtime.server.status import info_from_status
from services.verification.decision.items import item_rules
from services.verification.decision.model import (
    AcceptedItem,
    EffectivePolicy,
    PolicyDocument,
    Requirement,
    ShortestWindow,
    Window,
)
from services.verification.sources.model import PolicyAnswer, PolicyQuestion


def policy_question_to_proto(question: PolicyQuestion) -> ResolvePolicyRequest:
    """Return the message of a question."""
    return ResolvePolicyRequest(
        at_least_as_fresh="" if question.seen is None else encode_token(question.seen),
        region=question.region,
        purpose=question.purpose,  # type: ignore[arg-type]
        arriving_from=question.arriving_from,
        effective_time=to_timestamp(question.use_time),
    )


def policy_answer_from_proto(item: ResolvePolicyItem, now: Instant, ask_time: float, epoch: int) -> PolicyAnswer | None:
    """Return a received answer; None if it is an error. `now` stands in for an absent as_of_time."""
    message: policy_pb2.EffectivePolicy | policy_pb2.PoliciesByOrigin
    elsewhere: EffectivePolicy | None = None
    if item.HasField("by_origin"):
        message = item.by_origin
        policy = message.same_province
        elsewhere = policy_from_proto(message.other_province)
    elif item.HasField("effective_policy"):
        message = policy = item.effective_policy
    else:
        return None
    effective = policy_from_proto(policy)
    rules = [item_rules(one.required) for one in (effective, elsewhere) if one is not None and one.required is not None]
    items = sorted({item for one in rules for item in one.weighed})
    return PolicyAnswer(
        effective,
        elsewhere,
        message,
        from_timestamp(message.start_time) if message.HasField("start_time") else None,
        from_timestamp(message.end_time) if message.HasField("end_time") else None,
        from_timestamp(policy.as_of_time) if policy.HasField("as_of_time") else now,
        ask_time,
        epoch,
        item.sequence,
        tuple(map(describe_item, items)) if items != [DEFAULT_ITEM] else (),
        all(is_announced(item) for one in rules for item in one.ranks),
    )


def not_fresh_from_proto(item: ResolvePolicyItem) -> Unavailable | None:
    """Return the error if an answer is older than the question's token; None if the answer has another error."""
    info = info_from_status(item.error)
    if info.reason != "NOT_FRESH_ENOUGH":
        return None
    return Unavailable(info.reason, item.error.message, metadata=dict(info.metadata))


def fill_policy(inputs: decision_pb2.DecisionInputs, answer: PolicyAnswer) -> None:
    """Add an answer to the inputs of a decision as it was received."""
    if isinstance(answer.message, policy_pb2.PoliciesByOrigin):
        inputs.by_origin.CopyFrom(answer.message)
    else:
        inputs.effective_policy.CopyFrom(answer.message)


def policy_from_proto(policy: policy_pb2.EffectivePolicy) -> EffectivePolicy:
    """Return what applies. A requirement of an unknown kind or length counts as no policy in force."""
    required: Requirement | None = None
    governing = policy.governing
    if policy.HasField("test_required"):
        required = _requirement_from_proto(policy)
    if required is None and not policy.HasField("not_required"):
        governing = ""
    is_lifted = bool(policy.lifting_floor)
    return EffectivePolicy(
        governing,
        policy.lifting_floor or policy.floor,
        required,
        tuple(policy.forbidden_grounds),
        tuple(policy.advice),
        _document_from_proto(policy.governing_source),
        _document_from_proto(policy.lifting_source if is_lifted else policy.floor_source),
        is_lifted,
    )


def _document_from_proto(source: policy_pb2.PolicySource) -> PolicyDocument:
    return PolicyDocument(source.document_number, source.title, source.url, source.issue_date)


def _requirement_from_proto(policy: policy_pb2.EffectivePolicy) -> Requirement | None:
    required = policy.test_required
    windows = [required.window, *(one.window for one in required.accepted if one.HasField("window"))]
    if any(window.WhichOneof("length") is None for window in windows):
        return None
    return Requirement(
        _window_from_proto(required.window),
        from_duration(required.sampling_proof_window) if required.HasField("sampling_proof_window") else None,
        required.refusal_permitted,
        tuple(
            _shortest_from_proto(floor.shortest_window)
            for floor in policy.shortest_windows
            if floor.shortest_window.WhichOneof("length")
        ),
        tuple(
            AcceptedItem(
                parse_item(one.item, "accepted.item"),
                _window_from_proto(one.window) if one.HasField("window") else None,
            )
            for one in required.accepted
        ),
        parse_items(required.adverse_items, "adverse_items"),
        from_duration(required.adverse_window) if required.HasField("adverse_window") else None,
    )


def _window_from_proto(window: policy_pb2.ValidityWindow) -> Window:
    is_duration = window.WhichOneof("length") == "duration"
    return Window(
        from_duration(window.duration) if is_duration else None,
        None if is_duration else window.calendar_days,
        window.basis,
        window.includes_boundary,
    )


def _shortest_from_proto(shortest: policy_pb2.ShortestWindow) -> ShortestWindow:
    is_duration = shortest.WhichOneof("length") == "duration"
    return ShortestWindow(
        from_duration(shortest.duration) if is_duration else None,
        None if is_duration else shortest.calendar_days,
        shortest.includes_boundary,
    )
