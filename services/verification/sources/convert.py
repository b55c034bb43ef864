"""Converts Policy's questions and answers between wire and domain."""

from __future__ import annotations

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest

from services.domain.instant import Instant, from_duration, from_timestamp, to_timestamp
from services.verification.decision.model import EffectivePolicy, Requirement, Window
from services.verification.sources.model import PolicyAnswer, PolicyQuestion


def policy_question_to_proto(question: PolicyQuestion) -> ResolvePolicyRequest:
    """Return the message of a question."""
    return ResolvePolicyRequest(
        region=question.region,
        purpose=question.purpose,  # type: ignore[arg-type]
        arriving_from=question.arriving_from,
        effective_time=to_timestamp(question.use_time),
    )


def policy_answer_from_proto(
    message: policy_pb2.EffectivePolicy, now: Instant, ask_time: float, epoch: int
) -> PolicyAnswer:
    """Return a received answer. `now` replaces an absent as_of_time."""
    has = message.HasField
    return PolicyAnswer(
        policy_from_proto(message),
        message,
        from_timestamp(message.start_time) if has("start_time") else None,
        from_timestamp(message.end_time) if has("end_time") else None,
        from_timestamp(message.as_of_time) if has("as_of_time") else now,
        from_timestamp(message.nation_as_of_time),
        ask_time,
        epoch,
    )


def policy_from_proto(policy: policy_pb2.EffectivePolicy) -> EffectivePolicy:
    """Return what applies. A requirement of an unknown kind or length counts as no policy in force."""
    required: Requirement | None = None
    governing = policy.governing
    if policy.HasField("test_required"):
        required = _requirement_from_proto(policy.test_required)
    if required is None and not policy.HasField("not_required"):
        governing = ""
    return EffectivePolicy(governing, policy.floor, required, tuple(policy.forbidden_grounds), tuple(policy.advice))


def _requirement_from_proto(required: policy_pb2.TestRequired) -> Requirement | None:
    window = required.window
    length = window.WhichOneof("length")
    if length is None:
        return None
    proof = required.sampling_proof_window
    return Requirement(
        Window(
            from_duration(window.duration) if length == "duration" else None,
            window.calendar_days if length == "calendar_days" else None,
            window.basis,
            window.includes_boundary,
        ),
        from_duration(proof) if required.HasField("sampling_proof_window") else None,
        required.refusal_permitted,
    )
