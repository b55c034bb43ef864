"""Answers questions.

The verifier asks Policy and Results at the same time, and decides. It sends an answer only after it has stored the
decision, if the decision must be kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, BatchVerifyResponse, VerifyRequest

from services.domain.errors import HutongError
from services.domain.instant import Instant
from services.domain.names import format_decision
from services.domain.subject import Pepper
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.server.status import to_status
from services.runtime.server.validation import check_each
from services.verification.decision.model import SourceStatus
from services.verification.holder_tokens.seal import TokenSeal
from services.verification.holder_tokens.store import TokenUse, TokenUses
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.sources.model import PolicyAnswer, PolicyQuestion
from services.verification.sources.policy_client import PolicyClient
from services.verification.sources.results_client import ResultsClient
from services.verification.verify.asker import Asker, current_asker
from services.verification.verify.convert import fill_decision
from services.verification.verify.inputs import SourceAnswers, inputs_to_proto
from services.verification.verify.kept import Reply, Unkept, accept_tokens, keep_each, kept_answer
from services.verification.verify.misses import is_miss
from services.verification.verify.question import Question, question_from_proto, set_items
from services.verification.verify.scope import (
    SECOND_LOOK_UP_SHARE,
    SettledQuestion,
    Unanswered,
    decide_from,
    decide_if_sufficient,
    nationwide,
    with_nation,
)
from services.verification.verify.store import DecisionStore, KeptAnswer, StoredDecision, must_be_kept
from services.verification.verify.subject_tag import subject_tag
from services.verification.verify.view import show


class ResolvedPolicy(NamedTuple):
    """What Policy answered to a question.

    Attributes:
        answer: what applies; None if Policy did not answer.
        status: the state of Policy as a source of the decision.
        needs_results: whether results have to be looked up.
        items: the names of the items to look up; empty for the default item alone, and if nothing is looked up.
    """

    answer: PolicyAnswer | None
    status: SourceStatus
    needs_results: bool
    items: tuple[str, ...] = ()


class Verifier:
    """Answers questions, one or many."""

    def __init__(
        self,
        results: ResultsClient,
        policies: PolicyClient,
        store: DecisionStore,
        pepper: Pepper,
        clock: Clock,
        token_uses: TokenUses,
    ) -> None:
        self._results = results
        self._policies = policies
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._seal = TokenSeal(pepper)
        self._token_uses = token_uses
        self._keeper: Coalescer[KeptAnswer, None] = Coalescer(self._keep_batch)

    async def verify(self, request: VerifyRequest) -> pb.Decision:
        """Answer one question. Its look-up shares a call with look-ups that arrive at the same time."""
        asker = current_asker()
        question = self._read(request, self._clock.now(), asker)
        if question.token is not None:
            (refused,) = await self._token_uses.accept_each([TokenUse(question.token, asker.question)])
            if refused is not None:
                raise refused
        message, kept = await self._conclude(question)
        answer = kept_answer(question, message, kept, asker.audit, self._pepper)
        if answer is not None:
            await self._keeper.ask(answer)
        return message

    async def conclude(self, request: VerifyRequest) -> tuple[pb.Decision, StoredDecision | None]:
        """Decide one question. Return the whole decision, and what must be stored before it is sent (None: nothing)."""
        return await self._conclude(self._read(request, self._clock.now(), Asker(compares_name=False)))

    async def _conclude(self, question: Question) -> tuple[pb.Decision, StoredDecision | None]:
        message = pb.Decision()
        answers = await self._ask(question)
        settled = decide_if_sufficient(question, answers)
        if settled is None:
            found = await self._results.ask(nationwide(question), SECOND_LOOK_UP_SHARE)
            settled = decide_from(question, with_nation(answers, found))
        return message, self._fill(question, settled, message)

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

        `askers` are those of the questions. If a decision or a row of the audit cannot be stored, its reply is
        an error. The other replies are not affected.
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
        rest: list[Unanswered] = []
        questions, asked = await accept_tokens(self._token_uses, questions, asked)
        unkept: list[Unkept] = []
        for (reply, asker), question, found in zip(asked, questions, await self._ask_each(questions), strict=True):
            try:
                if isinstance(found, HutongError):
                    raise found
                settled = decide_if_sufficient(question, found)
                if settled is None:
                    rest.append(Unanswered(question, found, reply, asker))
                    continue
                kept = self._fill(question, settled, reply.decision)
                answer = kept_answer(question, reply.decision, kept, asker.audit, self._pepper)
            except Exception as error:  # noqa: BLE001 - as above
                reply.error.CopyFrom(to_status(error))
                continue
            if answer is not None:
                unkept.append(Unkept(reply, answer))
        return rest, unkept

    async def keep(self, unkept: Sequence[Unkept]) -> None:
        """Store what replies need before they are sent. If that fails, each of these replies becomes the error."""
        await keep_each(self._store, unkept)

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
            try:
                if isinstance(found, HutongError):
                    raise found
                kept = self._fill(question, decide_from(question, with_nation(own, found)), reply.decision)
                answer = kept_answer(question, reply.decision, kept, asker.audit, self._pepper)
            except Exception as error:  # noqa: BLE001 - as above
                reply.error.CopyFrom(to_status(error))
                continue
            if answer is not None:
                unkept.append(Unkept(reply, answer))
        return unkept

    async def _ask(self, question: Question) -> SourceAnswers:
        """Ask Policy and Results at the same time. Results is not asked if a cached policy requires no result.

        If the policy is not cached, the default item is looked up meanwhile. If the policy then weighs other items, all
        of its items are looked up instead.
        """
        known = self._policies.find_cached(question.policy)
        if known is not None:
            if not known.needs_results:
                return self._answers(self._rule(known), None)
            set_items(question, known.items)
        look_up = self._results.ask(question.keyed_look_up)
        try:
            rule = self._rule(known or await self._policies.resolve(question.policy))
            if known is None and rule.items:
                look_up.cancel()
                set_items(question, rule.items)
                look_up = self._results.ask(question.keyed_look_up)
            return self._answers(rule, await look_up if rule.needs_results else None)
        finally:
            look_up.cancel()

    async def _ask_each(self, questions: list[Question]) -> list[SourceAnswers | HutongError]:
        """Ask Policy and Results at the same time for all questions. Policy gets each different question once.

        Items are looked up as in `_ask`.
        """
        cached = {policy: self._policies.find_cached(policy) for policy in {question.policy for question in questions}}
        asking = {policy: known is None or known.needs_results for policy, known in cached.items()}
        _set_items_of_each(questions, {policy: known.items for policy, known in cached.items() if known is not None})
        look_ups = [question.keyed_look_up for question in questions if asking[question.policy]]
        looking_up = asyncio.ensure_future(self._results.look_up_each(look_ups))
        try:
            rules = await self._resolve_missing(cached)
            found = iter(await looking_up)
        finally:
            looking_up.cancel()
        resolved = {policy: rules[policy] for policy, known in cached.items() if known is None}
        again = _set_items_of_each(
            questions, {policy: rule.items for policy, rule in resolved.items() if isinstance(rule, ResolvedPolicy)}
        )
        more_found = await self._results.look_up_each([question.keyed_look_up for question in again])
        found_again = dict(zip(map(id, again), more_found, strict=True))
        answers: list[SourceAnswers | HutongError] = []
        for question in questions:
            rule = rules[question.policy]
            answer = next(found) if asking[question.policy] else None
            answer = found_again.get(id(question), answer)
            if isinstance(rule, HutongError):
                answers.append(rule)
            elif isinstance(answer, HutongError):
                answers.append(answer)
            else:
                answers.append(self._answers(rule, answer))
        return answers

    async def _resolve_missing(
        self, cached: Mapping[PolicyQuestion, PolicyAnswer | None]
    ) -> dict[PolicyQuestion, ResolvedPolicy | HutongError]:
        """Return what applies to each question. Policy is asked only where the cache has no answer."""
        missing = [question for question, known in cached.items() if known is None]
        resolved = dict(zip(missing, await asyncio.gather(*map(self._resolve, missing)), strict=True))
        rules: dict[PolicyQuestion, ResolvedPolicy | HutongError] = {}
        for question, known in cached.items():
            found = resolved[question] if known is None else known
            rules[question] = found if isinstance(found, HutongError) else self._rule(found)
        return rules

    async def _resolve(self, question: PolicyQuestion) -> PolicyAnswer | HutongError | None:
        try:
            return await self._policies.resolve(question)
        except HutongError as error:
            return error

    def _rule(self, known: PolicyAnswer | None) -> ResolvedPolicy:
        if known is None:
            return ResolvedPolicy(None, self._policies.unavailable, needs_results=True)
        needs_results = known.needs_results
        return ResolvedPolicy(known, self._policies.status(known), needs_results, known.items if needs_results else ())

    def _answers(self, rule: ResolvedPolicy, results: LookupAnswer | None) -> SourceAnswers:
        if not rule.needs_results:
            return SourceAnswers(rule.answer, rule.status, None, None)
        return SourceAnswers(rule.answer, rule.status, results, self._results.unavailable if results is None else None)

    def _read(self, request: VerifyRequest, now: Instant, asker: Asker) -> Question:
        """Decode a request.

        If the request has another node's consistency token, Results asks the nation at once. No second look-up follows.

        Raises:
            PermissionDenied: the asker may not see as much as it asks for.
            InvalidArgument: a field is wrong.
        """
        question = question_from_proto(request, now, asker, self._seal)
        if request.at_least_as_fresh and question.own_records_first and self._results.may_wait(question.look_up):
            return question._replace(own_records_first=False)
        return question

    def _fill(self, question: Question, settled: SettledQuestion, message: pb.Decision) -> StoredDecision | None:
        """Write a decision into an empty message, in the view of the question.

        Return what must be stored before it is sent; None if nothing. The stored decision is whole.
        """
        answers, gathered, decision = settled
        inputs = gathered.inputs
        if question.call is not None and is_miss(decision, inputs):
            question.call.misses += 1
        if not question.store_decision and not must_be_kept(decision):
            fill_decision(message, decision, inputs)
            show(message, question)
            return None
        uuid = uuid7()
        subject = question.subject_key(self._pepper)
        fill_decision(message, decision, inputs, format_decision(uuid))
        stored = StoredDecision(
            uuid,
            inputs.evaluate_time,
            message.SerializeToString(deterministic=True),
            inputs_to_proto(question, answers, gathered).SerializeToString(deterministic=True),
            subject_tag(uuid, subject, self._pepper),
        )
        show(message, question)
        return stored

    async def _keep_batch(self, answers: list[KeptAnswer]) -> Sequence[None]:
        await self._store.keep_answers(answers)
        return [None] * len(answers)


def _set_items_of_each(
    questions: Sequence[Question], items: Mapping[PolicyQuestion, Sequence[str]]
) -> Sequence[Question]:
    """Set the items of the questions whose policies name other items than the default one. Return these questions."""
    if not any(items.values()):
        return ()
    changed = [question for question in questions if items.get(question.policy)]
    for question in changed:
        set_items(question, items[question.policy])
    return changed
