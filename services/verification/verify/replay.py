"""Makes stored decisions again from their inputs."""

from __future__ import annotations

from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.verification_service_pb2 import (
    REPLAY_COMPARISON_DIFFERENT,
    REPLAY_COMPARISON_IDENTICAL,
    REPLAY_COMPARISON_OTHER_RULES,
    ReplayDecisionResponse,
)

from services.domain.names import format_decision
from services.verification.decision.decide import RULES_VERSION, decide
from services.verification.stored_decisions.store import DecisionStore
from services.verification.verify.convert import decision_to_proto
from services.verification.verify.inputs import inputs_from_proto
from services.verification.verify.questions.asker import FULL, View
from services.verification.verify.view import cut_to_view


async def replay(store: DecisionStore, uuid: str, view: View = FULL) -> ReplayDecisionResponse:
    """Make a stored decision again from its inputs, and compare both decisions as a whole.

    They are compared only if the stored decision was made by this version of the rules.

    Raises:
        NotFound: no decision is stored under this UUID.
    """
    stored = await store.get_decision(uuid)
    inputs = decision_pb2.DecisionInputs.FromString(stored.inputs)
    values = inputs_from_proto(inputs)
    message = decision_to_proto(decide(values), values, format_decision(uuid))
    if inputs.rules_version != RULES_VERSION:
        comparison = REPLAY_COMPARISON_OTHER_RULES
    elif message.SerializeToString(deterministic=True) == stored.decision:
        comparison = REPLAY_COMPARISON_IDENTICAL
    else:
        comparison = REPLAY_COMPARISON_DIFFERENT
    cut_to_view(message, view)
    return ReplayDecisionResponse(
        decision=message,
        comparison=comparison,
        stored_rules_version=inputs.rules_version,
        rules_version=RULES_VERSION,
    )
