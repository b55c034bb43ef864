"""Answers questions.

The verifier asks Policy and Results at the same time, and decides. It sends an answer only after it has stored the
decision, if the decision must be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, BatchVerifyResponse, VerifyRequest

from services.domain.errors import HutongError
from services.domain.instant import Instant
from services.domain.names import describe_item, format_decision
from services.domain.subject import Pepper
from services.runtime.call import only_waiting
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.server.status import to_status
from services.runtime.server.validation import check_each
from services.verification.decision.model import Record
from services.verification.decision_counts.counter import DecisionCounter
from services.verification.holder_tokens.seal import HolderToken, TokenSeal
from services.verification.holder_tokens.store import TokenUse, TokenUses
from services.verification.showings.examine import Verdict, find_verdicts
from services.verification.showings.shares import SHARES
from services.verification.sources.results_client import ResultsClient
from services.verification.stored_decisions.store import DecisionStore, KeptAnswer, StoredDecision, must_be_kept
from services.verification.verify.ask import Sources
from services.verification.verify.batches.recognitions import Recognitions
from services.verification.verify.convert import fill_decision
from services.verification.verify.inputs import SourceAnswers, pair_claims
from services.verification.verify.kept import (
    FailingAlone,
    Reply,
    Unkept,
    accept_tokens,
    keep_each,
    kept_answer,
    new_unkept,
    stored_decision,
)
from services.verification.verify.misses import is_miss
from services.verification.verify.questions.asker import Asker, current_asker
from services.verification.verify.questions.question import Question, question_from_proto, set_items
from services.verification.verify.scope import (
    SECOND_LOOK_UP_SHARE,
    Unanswered,
    decide_from,
    decide_if_sufficient,
    nationwide,
    with_nation,
)
from services.verification.verify.settled import SettledQuestion
from services.verification.verify.view import show

if TYPE_CHECKING:
    from services.verification.decision.model import DecisionOutcome


class Verifier:
    """Answers questions, one or many."""

    def __init__(
        self,
        sources: Sources,
        results: ResultsClient,
        store: DecisionStore,
        pepper: Pepper,
        clock: Clock,
        token_uses: TokenUses,
        counter: DecisionCounter,
    ) -> None:
        self._sources = sources
        self._results = results
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._seal = TokenSeal(pepper)
        self._token_uses = token_uses
        self._counter = counter

    def read(self, request: VerifyRequest, asker: Asker) -> Question:
        """Decode a request that arrives now. The method raises the same errors as `question_from_proto`."""
        return self._read(request, self._clock.now(), asker)

    async def accept_token(self, question: Question, asker: Asker) -> None:
        """Accept the token that was shown in place of a document, if a token was shown.

        Raises:
            HutongError: another question has shown the token.
        """
        if question.token is not None:
            (refused,) = await self._token_uses.accept_each([TokenUse(question.token, asker.question)])
            if refused is not None:
                raise refused

    async def answer(self, question: Question, asker: Asker, message: pb.Decision) -> None:
        """Answer one question into an empty message. Its look-up shares a call with others of the same time."""
        await self._keep_answer(self.fill(question, await self._settle(question), asker, message))

    async def answer_by_nation(
        self, question: Question, own: SourceAnswers, asker: Asker, message: pb.Decision
    ) -> None:
        """Answer a question that the node's own records did not settle, after a nationwide look-up."""
        settled = await self._settle_by_nation(question, own)
        await self._keep_answer(self.fill(question, settled, asker, message))

    async def answer_from(self, question: Question, answers: SourceAnswers, asker: Asker, message: pb.Decision) -> None:
        """Answer a question from everything that the sources answered."""
        await self._keep_answer(self.fill(question, decide_from(question, answers), asker, message))

    async def conclude(
        self, request: VerifyRequest, holder: HolderToken | None = None, verdicts: Sequence[Verdict] = ()
    ) -> StoredDecision | None:
        """Decide one question. Return what must be stored before its decision is used; None for nothing.

        `holder` has the subject keys if the question states no document. `verdicts` has what another node has found of
        the signatures of the evidence.
        """
        question = self._read(request, self._clock.now(), Asker(compares_name=False), holder)
        question = question._replace(verdicts=verdicts)
        return self._fill(question, await self._settle(question), pb.Decision())

    async def verify_signatures(self, question: Question) -> tuple[Verdict, ...]:
        """Return what is found of the signatures of a question's evidence; empty if no piece is signed.

        Without an answer of Results, the keys are not known.
        """
        if not question.signed:
            return ()
        set_items(question, sorted({describe_item(one.item) for one in question.evidence}))
        with only_waiting():
            found = await self._results.ask(question.look_up)
        return find_verdicts(question.signed, pair_claims(question, found), question.number)

    async def _settle(self, question: Question) -> SettledQuestion:
        answers = await self._sources.ask(question)
        return decide_if_sufficient(question, answers) or await self._settle_by_nation(question, answers)

    async def _settle_by_nation(self, question: Question, own: SourceAnswers) -> SettledQuestion:
        with only_waiting():
            found = await self._results.ask(nationwide(question), SECOND_LOOK_UP_SHARE)
        return decide_from(question, with_nation(own, found))

    async def _keep_answer(self, answer: KeptAnswer | None) -> None:
        """Store what one answer needs before it is sent. Answers of the same time share a transaction."""
        if answer is not None:
            await self.keep_answers([answer])

    async def keep_answers(self, answers: Sequence[KeptAnswer]) -> None:
        """Store what answers need before they are sent, in one transaction. Count their decisions afterwards.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE. No answer can be sent, and no decision is counted.
        """
        await self._store.keep_answers(answers)
        self._counter.count_each([answer.counted for answer in answers if answer.counted is not None])

    async def verify_each(self, batch: BatchVerifyRequest) -> BatchVerifyResponse:
        """Answer several questions in order, each with its decision or its own error.

        The questions share look-ups and writes.
        """
        response = BatchVerifyResponse()
        asker = current_asker()
        askers = [
            asker._replace(question=f"{asker.question} item {index}") if request.holder_token else asker
            for index, request in enumerate(batch.requests)
        ]
        await self.answer_each(batch, [response.items.add() for _ in batch.requests], askers)
        return response

    async def answer_each(self, batch: BatchVerifyRequest, replies: Sequence[Reply], askers: Sequence[Asker]) -> None:
        """Answer as `verify_each`, into the caller's empty messages, one for each question.

        `askers` are the askers of the questions. If a decision or a row of the audit cannot be stored, the reply to its
        question is an error. The other replies are not affected.
        """
        rest, unkept = await self.answer_by_own_records(batch, replies, askers)
        await self.keep([*unkept, *await self._decide_rest(rest)])

    async def answer_by_own_records(
        self, batch: BatchVerifyRequest, replies: Sequence[Reply], askers: Sequence[Asker]
    ) -> tuple[list[Unanswered], list[Unkept]]:
        """Answer the questions that need no further look-up at the nation.

        Return the others, and the replies that may be sent only after `keep`.
        """
        now = self._clock.now()
        questions: list[Question] = []
        asked: list[tuple[Reply, Asker]] = []
        for request, broken, reply, asker in zip(batch.requests, check_each(batch), replies, askers, strict=True):
            try:
                if broken is not None:
                    raise broken
                questions.append(self._read(request, now, asker))
                asked.append((reply, asker))
            except Exception as error:  # noqa: BLE001 - the failure of one question must not fail the others
                reply.error.CopyFrom(to_status(error))
        questions, asked = await accept_tokens(self._token_uses, questions, asked)
        found = await self._sources.ask_each(questions)
        rest: list[Unanswered] = []
        decided: list[tuple[Question, SettledQuestion, Asker, Reply]] = []
        recognized: list[tuple[Question, Record, Asker, Reply]] = []
        recognitions = Recognitions()
        # Each step goes through all questions. All steps for one question after the other took a quarter longer
        # (docs/performance.md §8).
        for (reply, asker), question, answers in zip(asked, questions, found, strict=True):
            try:
                if isinstance(answers, HutongError):
                    raise answers
                record = recognitions.fill(question, answers, reply.decision)
                if record is not None:
                    recognized.append((question, record, asker, reply))
                    continue
                settled = decide_if_sufficient(question, answers)
                if settled is None:
                    rest.append(Unanswered(question, answers, reply, asker))
                else:
                    decided.append((question, settled, asker, reply))
            except Exception as error:  # noqa: BLE001 - the failure of one question must not fail the others
                reply.error.CopyFrom(to_status(error))
        unkept: list[Unkept] = []
        SHARES.count_records([(record.lab, question.call) for question, record, _, _ in recognized])
        for question, _, asker, reply in recognized:
            try:
                answer = self._kept(question, pb.DECISION_OUTCOME_RECOGNIZED, None, asker)
                if answer is not None:
                    unkept.append(new_unkept((reply, answer)))
            except Exception as error:  # noqa: BLE001 - the failure of one question must not fail the others
                reply.error.CopyFrom(to_status(error))
        for question, settled, asker, reply in decided:
            with FailingAlone(reply):
                answer = self.fill(question, settled, asker, reply.decision)
                if answer is not None:
                    unkept.append(Unkept(reply, answer))
        return rest, unkept

    async def keep(self, unkept: Sequence[Unkept]) -> None:
        """Store what replies need before they are sent. If that fails, each of these replies becomes the error."""
        await keep_each(self.keep_answers, unkept)

    async def answer_rest(self, rest: Sequence[Unanswered]) -> None:
        """Answer the questions that the node's own records did not settle, with one nationwide look-up for all."""
        await self.keep(await self._decide_rest(rest))

    async def _decide_rest(self, rest: Sequence[Unanswered]) -> list[Unkept]:
        if not rest:
            return []
        look_ups = [nationwide(one.question) for one in rest]
        unkept: list[Unkept] = []
        answers = await self._results.look_up_each(look_ups, SECOND_LOOK_UP_SHARE)
        for (question, own, reply, asker), found in zip(rest, answers, strict=True):
            with FailingAlone(reply):
                if isinstance(found, HutongError):
                    raise found
                answer = self.fill(question, decide_from(question, with_nation(own, found)), asker, reply.decision)
                if answer is not None:
                    unkept.append(Unkept(reply, answer))
        return unkept

    def _read(self, request: VerifyRequest, now: Instant, asker: Asker, holder: HolderToken | None = None) -> Question:
        """Decode a request.

        If the request has another node's consistency token, Results asks the nation at once. No second look-up follows.

        Raises:
            PermissionDenied: the asker may not see as much as it asks for.
            InvalidArgument: a field is wrong.
        """
        question = question_from_proto(request, now, asker, self._seal, holder)
        if request.at_least_as_fresh and question.own_records_first and self._results.may_wait(question.look_up):
            return question._replace(own_records_first=False)
        return question

    def fill(
        self, question: Question, settled: SettledQuestion, asker: Asker, message: pb.Decision
    ) -> KeptAnswer | None:
        """Write a decision into an empty message.

        If something must be stored before the decision is sent, return what must be stored; the decision is counted
        after that. Otherwise count the decision and return None.
        """
        kept = self._fill(question, settled, message)
        return self._kept(question, settled.decision.outcome, kept, asker)

    def _kept(
        self, question: Question, outcome: DecisionOutcome, kept: StoredDecision | None, asker: Asker
    ) -> KeptAnswer | None:
        """Return what must be stored before an answer is sent. If nothing must be stored, count it and return None."""
        asked = question.policy
        counted = (asked.region, asked.purpose, outcome, question.evaluate_time)
        answer = kept_answer(question, kept, asker.audit, self._pepper, counted)
        if answer is None:
            self._counter.count(*counted)
        return answer

    def _fill(self, question: Question, settled: SettledQuestion, message: pb.Decision) -> StoredDecision | None:
        """Write a decision into an empty message, in the view of the question.

        Return the decision to store before the message is sent; None for nothing. The stored decision has all fields,
        whatever the view is.
        """
        _, gathered, decision = settled
        inputs = gathered.inputs
        SHARES.count(decision, inputs, gathered.claims, question.call)
        if question.call is not None and is_miss(decision, inputs):
            question.call.misses += 1
        if not question.store_decision and not must_be_kept(decision):
            fill_decision(message, decision, inputs)
            show(message, question)
            return None
        uuid = uuid7()
        fill_decision(message, decision, inputs, format_decision(uuid))
        stored = stored_decision(uuid, question, settled, message, self._pepper)
        show(message, question)
        return stored
