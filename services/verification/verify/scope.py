"""A question whose scope is unset: answered by the node's own records, or else as NATIONWIDE."""

from __future__ import annotations

from typing import NamedTuple

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.decide import decide
from services.verification.decision.model import NATIONAL_RESULTS, SOURCE_UNAVAILABLE, Decision, SourceStatus
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.verify.inputs import GatheredInputs, SourceAnswers, gather
from services.verification.verify.question import Question

NATION_SECONDS = 1.2
"""The longest wait for the second look-up. Results waits for the nation for one second of it."""

_SUFFICIENT = frozenset({pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_OUTCOME_NOT_REQUIRED})


class SettledQuestion(NamedTuple):
    """A decision and what it was made from."""

    answers: SourceAnswers
    gathered: GatheredInputs
    decision: Decision


def decide_from(question: Question, answers: SourceAnswers) -> SettledQuestion:
    """Decide by all that the sources answered."""
    gathered = gather(question, answers)
    return SettledQuestion(answers, gathered, decide(gathered.inputs))


def decide_if_sufficient(question: Question, answers: SourceAnswers) -> SettledQuestion | None:
    """Decide unless the nation is to be asked first; None if it is.

    If the scope is unset, the node's own records decide alone where they recognise the person: evidence adds nothing.
    """
    if not question.own_records_first or answers.results is None or answers.policy is None:
        return decide_from(question, answers)
    if not answers.results.records:
        # Results are asked only where a result is required, so that without records nothing is settled.
        return None
    gathered = gather(question, answers, own_records_alone=True)
    decision = decide(gathered.inputs)
    return SettledQuestion(answers, gathered, decision) if decision.outcome in _SUFFICIENT else None


def nationwide(look_up: LookupLatestRequest) -> LookupLatestRequest:
    """The same look-up, now of the nation too. The node's own answer to it has come, so that it may be changed."""
    look_up.scope = LOOKUP_SCOPE_NATIONWIDE
    return look_up


def with_nation(answers: SourceAnswers, found: LookupAnswer | None) -> SourceAnswers:
    """The answers after the nation was asked; if no answer came, the node's own with the nation as a source away."""
    if found is not None:
        return answers._replace(results=found)
    own = answers.results
    assert own is not None
    others = [source for source in own.sources if source.source != NATIONAL_RESULTS]
    away = SourceStatus(NATIONAL_RESULTS, SOURCE_UNAVAILABLE, None)
    return answers._replace(results=own._replace(sources=(*others, away)))
