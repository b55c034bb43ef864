"""What must be stored before an answer is sent: the decision, if it is kept, and the row of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import StreamVerifyResponse, VerifyItem

from services.domain.subject import Pepper
from services.runtime.audit import CallAudit
from services.runtime.server.status import to_status
from services.verification.verify.question import Question
from services.verification.verify.store import DecisionStore, KeptAnswer, StoredDecision

Reply = VerifyItem | StreamVerifyResponse
"""The message that takes the answer to one of several questions: a decision or an error."""

_OUTCOMES = {number: name.removeprefix("DECISION_OUTCOME_") for name, number in pb.DecisionOutcome.items()}
"""The names of outcomes in the audit."""


def kept_answer(
    question: Question,
    decision: pb.Decision,
    kept: StoredDecision | None,
    audit: CallAudit | None,
    pepper: Pepper,
) -> KeptAnswer | None:
    """Return what must be stored before an answer is sent; None if nothing. Outside a call the audit has no row."""
    if audit is None:
        return None if kept is None else KeptAnswer(kept, None)
    audit.is_recorded = True
    asked, key = question.policy, pepper.subject_key(question.document)
    outcome = _OUTCOMES[decision.outcome]
    event = audit.read_of(key, asked.purpose, asked.region, outcome, question.evaluate_time)
    return KeptAnswer(kept, (audit.trail, event))


class Unkept(NamedTuple):
    """A reply that must not be sent before something is stored."""

    reply: Reply
    answer: KeptAnswer


async def keep_each(store: DecisionStore, unkept: Sequence[Unkept]) -> None:
    """Store what replies need in one write. If the write fails, each of these replies becomes the error."""
    if unkept:
        try:
            await store.keep_answers([answer for _, answer in unkept])
        except Exception as error:  # noqa: BLE001 - the failure of these replies must not fail the others
            status = to_status(error)
            for reply, _ in unkept:
                reply.error.CopyFrom(status)
