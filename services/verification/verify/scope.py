"""Decides questions whose scope is unset: by the node's own records if they suffice, otherwise as NATIONWIDE."""

from __future__ import annotations

from typing import NamedTuple

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.decide import decide
from services.verification.decision.model import NATIONAL_RESULTS, SOURCE_UNAVAILABLE, SourceStatus
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.sources.model import LookUp
from services.verification.verify.inputs import SourceAnswers, gather
from services.verification.verify.kept import Reply
from services.verification.verify.questions.asker import Asker
from services.verification.verify.questions.question import Question
from services.verification.verify.settled import SettledQuestion

SECOND_LOOK_UP_SHARE = 0.6
"""The share of a source's time that the second look-up may take. Results itself waits half of that time for the nation;
the rest is for the call."""

_SUFFICIENT = frozenset({pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_OUTCOME_NOT_REQUIRED})


class Unanswered(NamedTuple):
    """A question that the node's own records did not settle.

    Attributes:
        own: what this node's Policy and Results answered.
        reply: the empty message for the answer.
        asker: who asks the question.
    """

    question: Question
    own: SourceAnswers
    reply: Reply
    asker: Asker


def decide_from(question: Question, answers: SourceAnswers) -> SettledQuestion:
    """Decide from everything that the sources answered."""
    gathered = gather(question, answers)
    return SettledQuestion(answers, gathered, decide(gathered.inputs))


def decide_if_sufficient(question: Question, answers: SourceAnswers) -> SettledQuestion | None:
    """Decide if the answers suffice. Return None if the nation has to be asked first.

    If the scope is unset, the node's own records alone decide, without evidence. They suffice if the result is
    recognised or none is required. They never suffice if there may be a standing positive that the nation does not make
    known to nodes.
    """
    if not question.own_records_first or answers.results is None or answers.policy is None:
        return decide_from(question, answers)
    if not answers.results.records or not answers.policy.is_settled_by_own_records:
        # Results was asked, so a result is required, and without records none can be recognised.
        return None
    gathered = gather(question, answers, own_records_alone=True)
    decision = decide(gathered.inputs)
    return SettledQuestion(answers, gathered, decision) if decision.outcome in _SUFFICIENT else None


def nationwide(question: Question) -> LookUp:
    """Change the look-up of a question to nationwide scope and return it.

    The change in place is safe, because the node's own answer to the look-up has already been received.
    """
    question.look_up.scope = LOOKUP_SCOPE_NATIONWIDE
    return question.look_up


def with_nation(answers: SourceAnswers, found: LookupAnswer | None) -> SourceAnswers:
    """Return the answers, with the answers of the nationwide look-up in place of the node's own.

    Without a nationwide answer the node's own answers stay, and the nation is among their sources as unavailable.
    """
    if found is not None:
        return answers._replace(results=found)
    own = answers.results
    assert own is not None
    others = [source for source in own.sources if source.source != NATIONAL_RESULTS]
    nation = SourceStatus(NATIONAL_RESULTS, SOURCE_UNAVAILABLE, None)
    return answers._replace(results=own._replace(sources=(*others, nation)))
