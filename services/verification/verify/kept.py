"""What must be stored before an answer is sent: a kept decision, the row of the audit, and a shown token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import StreamVerifyResponse, VerifyItem

from services.domain.errors import HutongError
from services.domain.subject import Pepper
from services.runtime.audit import CallAudit, DecisionRead
from services.runtime.server.status import to_status
from services.verification.decision_counts.model import CountedDecision
from services.verification.holder_tokens.store import TokenUse, TokenUses
from services.verification.showings.examine import KeptDecision, find_showings, find_verdicts
from services.verification.showings.model import Showing
from services.verification.stored_decisions.store import KeptAnswer, StoredDecision
from services.verification.stored_decisions.subject_tag import subject_tag
from services.verification.verify.inputs import inputs_to_proto
from services.verification.verify.questions.asker import Asker
from services.verification.verify.questions.question import Question
from services.verification.verify.settled import SettledQuestion

Reply = VerifyItem | StreamVerifyResponse
"""The message that takes the answer to one of several questions: a decision or an error."""

_OUTCOMES: Mapping[int, str] = {
    number: name.removeprefix("DECISION_OUTCOME_") for name, number in pb.DecisionOutcome.items()
}
"""The names of outcomes in the audit."""


class FailingAlone:
    """Puts the failure of a block into a reply, so that the other questions do not fail with it.

    A class takes a third of the time of `contextlib.contextmanager`.
    """

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._reply.error.CopyFrom(to_status(error))
        return True


def stored_decision(
    uuid: str, question: Question, settled: SettledQuestion, message: pb.Decision, pepper: Pepper
) -> StoredDecision:
    """Return what is stored of a decision: its whole message, its inputs, and the reports that were shown for it."""
    answers, gathered, decision = settled
    inputs = gathered.inputs
    showings: tuple[Showing, ...] = ()
    if inputs.evidence:
        kept = KeptDecision(uuid, question.policy.region, question.subject_keys(pepper))
        verdicts = question.verdicts or find_verdicts(question.signed, gathered.claims, question.number)
        showings = find_showings(kept, decision, inputs, gathered.claims, verdicts)
    return StoredDecision(
        uuid,
        inputs.evaluate_time,
        message.SerializeToString(deterministic=True),
        inputs_to_proto(question, answers, gathered).SerializeToString(deterministic=True),
        subject_tag(uuid, question.subject_key(pepper), pepper),
        showings,
    )


def kept_answer(
    question: Question,
    kept: StoredDecision | None,
    audit: CallAudit | None,
    pepper: Pepper,
    counted: CountedDecision,
) -> KeptAnswer | None:
    """Return what must be stored before an answer is sent; None if nothing. Outside a call the audit has no row."""
    if audit is None:
        return None if kept is None else KeptAnswer(kept, None, counted)
    audit.is_recorded = True
    region, purpose, outcome, time = counted
    read = DecisionRead(audit, question.subject_key(pepper), purpose, region, _OUTCOMES[outcome], time)
    return KeptAnswer(kept, read, counted)


async def accept_tokens(
    token_uses: TokenUses, questions: list[Question], asked: list[tuple[Reply, Asker]]
) -> tuple[list[Question], list[tuple[Reply, Asker]]]:
    """Return the questions whose tokens are not refused, with their replies and askers.

    The replies to the refused questions become errors.
    """
    uses = {
        index: TokenUse(question.token, asked[index][1].question)
        for index, question in enumerate(questions)
        if question.token is not None
    }
    if not uses:
        return questions, asked
    errors: Sequence[HutongError | None]
    try:
        errors = await token_uses.accept_each(list(uses.values()))
    except HutongError as failure:
        errors = [failure] * len(uses)
    refused = {index: error for index, error in zip(uses, errors, strict=True) if error is not None}
    for index, error in refused.items():
        asked[index][0].error.CopyFrom(to_status(error))
    left = [index for index in range(len(questions)) if index not in refused]
    return [questions[index] for index in left], [asked[index] for index in left]


class Unkept(NamedTuple):
    """A reply that must not be sent before something is stored."""

    reply: Reply
    answer: KeptAnswer


async def keep_each(keep: Callable[[Sequence[KeptAnswer]], Awaitable[None]], unkept: Sequence[Unkept]) -> None:
    """Store what replies need in one write. If the write fails, each of these replies becomes the error."""
    if unkept:
        try:
            await keep([answer for _, answer in unkept])
        except Exception as error:  # noqa: BLE001 - the failure of these replies must not fail the others
            status = to_status(error)
            for reply, _ in unkept:
                reply.error.CopyFrom(status)
