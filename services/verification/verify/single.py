"""Verify: single questions. Questions of calls that arrive together share a look-up and a write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import VerifyRequest, VerifyResponse

from services.domain.errors import HutongError
from services.runtime.client.coalescer import Coalescer
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.sources.results_client import ResultsClient
from services.verification.stored_decisions.store import KeptAnswer
from services.verification.verify.ask import ResolvedPolicy, Sources
from services.verification.verify.inputs import SourceAnswers
from services.verification.verify.questions.asker import Asker, current_asker
from services.verification.verify.questions.question import Question
from services.verification.verify.scope import decide_if_sufficient
from services.verification.verify.verifier import Verifier


@dataclass(slots=True)
class _Asked:
    """A question whose policy is known.

    Attributes:
        decision: the message for the decision.
        kept: what must be stored before the decision is sent; None for nothing.
        is_late: whether the question's time for the look-up is over, so that the call of the question decides without
            the look-up.
    """

    question: Question
    rule: ResolvedPolicy
    asker: Asker
    decision: pb.Decision
    kept: KeptAnswer | None = None
    is_late: bool = False


_Outcome: TypeAlias = _Asked | SourceAnswers | None
"""What becomes of a question in its batch. It is the question itself if the question is decided, and this node's own
answers if the nation must be asked too. It is None if the question is late."""


class SingleQuestions:
    """Answers single questions.

    A question shares a batch if its policy is cached. A question for Policy, for the nation or with another node's
    token may take long, so it shares no batch.
    """

    def __init__(self, verifier: Verifier, sources: Sources, results: ResultsClient) -> None:
        self._verifier = verifier
        self._sources = sources
        self._results = results
        self._together: Coalescer[_Asked, _Outcome] = Coalescer(
            self._answer_by_own_records, finish=self._keep, name="verify batch", on_late=self._give_up
        )

    async def verify(self, request: VerifyRequest) -> VerifyResponse:
        """Answer one question. Its decision is stored before this returns, if it must be kept."""
        asker = current_asker()
        question = self._verifier.read(request, asker)
        await self._verifier.accept_token(question, asker)
        response = VerifyResponse()
        rule = self._sources.find_rule(question)
        if rule is None or not rule.needs_results or not self._results.is_shared(question.look_up):
            await self._verifier.answer(question, asker, response.decision)
        else:
            await self._share(_Asked(question, rule, asker, response.decision))
        return response

    async def _share(self, asked: _Asked) -> None:
        outcome = await self._together.ask(asked, self._results.seconds_to_wait())
        if outcome is None:
            answers = self._sources.join(asked.rule, None)
            await self._verifier.answer_from(asked.question, answers, asked.asker, asked.decision)
        elif isinstance(outcome, SourceAnswers):
            await self._verifier.answer_by_nation(asked.question, outcome, asked.asker, asked.decision)

    def _give_up(self, asked: _Asked) -> None:
        asked.is_late = True
        self._results.note_late()

    async def _answer_by_own_records(self, batch: list[_Asked]) -> Sequence[_Outcome | Exception]:
        found = await self._results.look_up_shared([asked.question.look_up for asked in batch])
        return [self._answer_one(asked, answer) for asked, answer in zip(batch, found, strict=True)]

    def _answer_one(self, asked: _Asked, answer: LookupAnswer | HutongError | None) -> _Outcome | Exception:
        if isinstance(answer, HutongError):
            return answer
        if asked.is_late:
            return None
        question = asked.question
        try:
            answers = self._sources.join(asked.rule, answer)
            settled = decide_if_sufficient(question, answers)
            if settled is None:
                return answers
            asked.kept = self._verifier.fill(question, settled, asked.asker, asked.decision)
        except Exception as error:  # noqa: BLE001 - the failure of one question must not fail the others
            return error
        return asked

    async def _keep(self, outcomes: Sequence[_Outcome | BaseException]) -> Sequence[_Outcome | BaseException]:
        """Store what must be stored before answers are sent. After a small batch, the next batch does not wait."""
        kept = [one.kept for one in outcomes if isinstance(one, _Asked) and one.kept is not None]
        try:
            if kept:
                await self._verifier.keep_answers(kept)
        except Exception as error:  # noqa: BLE001 - it fails the calls whose decisions are not stored, and no others
            return [error if isinstance(one, _Asked) else one for one in outcomes]
        return outcomes
