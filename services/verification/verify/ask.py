"""Asks the sources of a decision, Policy and Results, at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.domain.errors import HutongError
from services.runtime.call import only_waiting
from services.verification.decision.model import SourceStatus
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.sources.model import PolicyAnswer, PolicyQuestion
from services.verification.sources.policy_client import NOT_KNOWN_HERE, PolicyClient
from services.verification.sources.results_client import ResultsClient
from services.verification.verify.inputs import SourceAnswers, new_answers
from services.verification.verify.questions.question import Question, set_items


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


class Sources:
    """Asks Policy and Results what they know about questions, one or many."""

    def __init__(self, policies: PolicyClient, results: ResultsClient) -> None:
        self._policies = policies
        self._results = results

    async def ask(self, question: Question) -> SourceAnswers:
        """Ask Policy and Results at the same time. Results is not asked if a cached policy requires no result.

        If the policy is not cached, the default item is looked up meanwhile. If the policy then weighs other items, all
        items that the policy weighs are looked up instead. A slow source must not make this process refuse other calls,
        so the wait is not counted as work.
        """
        rule = self.find_rule(question)
        if rule is not None and not rule.needs_results:
            return self.join(rule, None)
        look_up = self._results.ask(question.look_up)
        try:
            if rule is None:
                with only_waiting():
                    resolution = await self._policies.resolve(question.policy)
                rule = self._rule(question.policy, resolution)
                if rule.items:
                    look_up.cancel()
                    set_items(question, rule.items)
                    look_up = self._results.ask(question.look_up)
            with only_waiting():
                found = await look_up if rule.needs_results else None
            return self.join(rule, found)
        finally:
            look_up.cancel()

    async def ask_each(self, questions: list[Question]) -> list[SourceAnswers | HutongError]:
        """Ask Policy and Results at the same time for all questions. Policy gets each different question once.

        Items are looked up as in `ask`.
        """
        cached = {policy: self._cached_rule(policy) for policy in {question.policy for question in questions}}
        asking = {policy: rule is None or rule.needs_results for policy, rule in cached.items()}
        _set_items_of_each(questions, cached)
        ask_all = all(asking.values())
        look_ups = [question.look_up for question in questions if ask_all or asking[question.policy]]
        looking_up = asyncio.ensure_future(self._results.look_up_each(look_ups))
        try:
            resolved = await self._resolve_each([policy for policy, rule in cached.items() if rule is None])
            found = iter(await looking_up)
        finally:
            looking_up.cancel()
        again = _set_items_of_each(questions, resolved)
        more_found = await self._results.look_up_each([question.look_up for question in again])
        found_again = dict(zip(map(id, again), more_found, strict=True))
        answers: list[SourceAnswers | HutongError] = []
        for question in questions:
            rule = cached[question.policy] or resolved[question.policy]
            answer = next(found) if ask_all or asking[question.policy] else None
            if found_again:
                answer = found_again.get(id(question), answer)
            if isinstance(rule, HutongError):
                answers.append(rule)
            elif isinstance(answer, HutongError):
                answers.append(answer)
            else:
                answers.append(self.join(rule, answer))
        return answers

    async def _resolve_each(
        self, questions: Sequence[PolicyQuestion]
    ) -> dict[PolicyQuestion, ResolvedPolicy | HutongError]:
        """Ask Policy what applies to each question."""
        return dict(zip(questions, await asyncio.gather(*map(self._resolve, questions)), strict=True))

    async def _resolve(self, question: PolicyQuestion) -> ResolvedPolicy | HutongError:
        try:
            return self._rule(question, await self._policies.resolve(question))
        except HutongError as error:
            return error

    def find_rule(self, question: Question) -> ResolvedPolicy | None:
        """Return what applies to a question if the cache knows it; None if Policy has to be asked.

        The items of the policy are set in the question's look-up.
        """
        rule = self._cached_rule(question.policy)
        if rule is not None:
            set_items(question, rule.items)
        return rule

    def _cached_rule(self, question: PolicyQuestion) -> ResolvedPolicy | None:
        known = self._policies.find_cached(question)
        return None if known is None else self._rule(question, known)

    def _rule(self, question: PolicyQuestion, known: PolicyAnswer | None) -> ResolvedPolicy:
        if known is None:
            return ResolvedPolicy(None, self._policies.unavailable, needs_results=True)
        if not self._policies.is_complete(known, question.region):
            return ResolvedPolicy(None, NOT_KNOWN_HERE, needs_results=False)
        needs_results = known.needs_results
        return ResolvedPolicy(known, self._policies.status(known), needs_results, known.items if needs_results else ())

    def join(self, rule: ResolvedPolicy, results: LookupAnswer | None) -> SourceAnswers:
        """Return the answers of both sources. `results` is None if Results did not answer."""
        answer, status, needs_results, _ = rule
        if not needs_results:
            return SourceAnswers(answer, status, None, None)
        unavailable = self._results.unavailable if results is None else None
        return new_answers((answer, status, results, unavailable))


def _set_items_of_each(
    questions: Sequence[Question], rules: Mapping[PolicyQuestion, ResolvedPolicy | HutongError | None]
) -> Sequence[Question]:
    """Set the items of the questions whose policies name other items than the default one. Return these questions."""
    items = {policy: rule.items for policy, rule in rules.items() if isinstance(rule, ResolvedPolicy) and rule.items}
    if not items:
        return ()
    changed = [question for question in questions if question.policy in items]
    for question in changed:
        set_items(question, items[question.policy])
    return changed
