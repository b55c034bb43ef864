"""Assesses a reported refusal by the policy of the place and by decisions about the person.

A refusal is assessed when it is reported, or later, if it was reported at another node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hutong.exchange.v1.replicated_refusal_pb2 import RefusalEvidence, ShownDecision
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.type.v1.purpose_pb2 import PURPOSE_UNSPECIFIED
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.errors import NotFound
from services.domain.instant import Instant, from_timestamp, to_timestamp
from services.domain.names import format_decision, parse_decision
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.verification.refusals.rules import (
    Refusal,
    assess,
    forbidden_among,
    outweighs_what_was_shown,
    was_entitled,
    was_refusable,
)
from services.verification.sources.model import PolicyQuestion
from services.verification.sources.policy_client import PolicyClient
from services.verification.stored_decisions.store import DecisionStore, StoredDecision
from services.verification.stored_decisions.subject_tag import is_tagged


class Assessed(NamedTuple):
    """A refusal with its assessment.

    `rule_known` says whether it is known what applied at the place. If it is not, a later assessment may differ.
    """

    refusal: Refusal
    rule_known: bool


class Assessor:
    """Assesses refusals at places of this node."""

    def __init__(self, policies: PolicyClient, decision_store: DecisionStore, pepper: Pepper, own: str) -> None:
        self._policies = policies
        self._decision_store = decision_store
        self._pepper = pepper
        self._own = own

    async def assess(self, refusal: Refusal, made: StoredDecision | None, now: Instant) -> Assessed:
        """Return the refusal with its assessment.

        `made` is the decision about the person that was made for the report; None if the report names no person.
        """
        shown = await self.read_shown(refusal)
        made_decision = None if made is None else _statement_of(made)
        # A decision that was made for the report and found a positive replaces the decision that was shown.
        counting = shown if made_decision is None or not outweighs_what_was_shown(made_decision.reason) else None
        if counting is not None and not counting.HasField("use_time"):
            counting = None
        said = [
            _read(one, refusal.refuse_time, was_shown=one is counting)
            for one in (counting, made_decision)
            if one is not None
        ]
        origin = "" if refusal.arriving_from == NATION else refusal.arriving_from
        policy_question = PolicyQuestion(refusal.region, refusal.purpose, origin, refusal.refuse_time, None)
        policy = self._policies.find_cached(policy_question) or await self._policies.resolve(policy_question)
        if policy is not None and not self._policies.is_complete(policy, refusal.region):
            policy = None
        entitled = _either([one.entitled for one in said], weighs_more=True)
        refusable = _either([one.refusable for one in said], weighs_more=False)
        if policy is not None:
            # What the policy grants to everybody, it grants to a person who is not named.
            entitled = True if policy.asks_nothing else entitled
            refusable = False if policy.refuses_nobody else refusable
        forbidden = forbidden_among(refusal.grounds, policy.forbidden_grounds if policy else (), entitled=entitled)
        named = counting or made_decision or shown
        assessment = assess(
            forbidden,
            rule_known=policy is not None,
            entitled=entitled,
            refusable=refusable,
        )
        assessed = replace(
            refusal,
            forbidden_grounds=tuple(sorted(forbidden)),
            assessment=assessment,
            decision="" if named is None else parse_decision(named.name),
            assess_node=self._own,
            assess_time=now,
            # Only the assessment needs the evidence and the shown decision.
            evidence=b"",
            shown_decision=b"",
        )
        return Assessed(assessed, policy is not None)

    async def read_shown(self, refusal: Refusal) -> ShownDecision | None:
        """Return what is known of the decision that was shown to the person; None if the report names no decision.

        If the shown decision is about something else, or is not known, only its name is returned.
        """
        if not refusal.shown_decision:
            return None
        stated = ShownDecision.FromString(refusal.shown_decision)
        try:
            stored = await self._decision_store.get_decision(parse_decision(stated.name))
        except NotFound:
            return stated
        return _statement_of(stored) if self._is_about(stored, refusal) else ShownDecision(name=stated.name)

    def _is_about(self, shown: StoredDecision, refusal: Refusal) -> bool:
        """Return whether a shown decision is about a refusal's region, purpose and person.

        A purpose or person that is not known is not compared.
        """
        inputs = decision_pb2.DecisionInputs.FromString(shown.inputs)
        if inputs.region != refusal.region or inputs.purpose not in (PURPOSE_UNSPECIFIED, refusal.purpose):
            return False
        keys = refusal.subject_keys
        return not keys or is_tagged(shown.subject, shown.uuid, keys, self._pepper) is not False


def question_of(refusal: Refusal) -> VerifyRequest:
    """Return the question whose decision assesses a refusal, without the person."""
    question = VerifyRequest(evidence=RefusalEvidence.FromString(refusal.evidence).evidence)
    question.region, question.purpose = refusal.region, refusal.purpose
    question.arriving_from = refusal.arriving_from
    question.use_time.CopyFrom(to_timestamp(refusal.refuse_time))
    question.scope, question.store_decision = LOOKUP_SCOPE_NATIONWIDE, True
    return question


def _statement_of(stored: StoredDecision) -> ShownDecision:
    """Return what an assessment reads of a stored decision."""
    decision = decision_pb2.Decision.FromString(stored.decision)
    return ShownDecision(
        name=format_decision(stored.uuid),
        outcome=decision.outcome,
        reason=decision.reason,
        policy=decision.governing_policy,
        refusal_permitted=decision.refusal_permitted,
        use_time=decision.use_time,
        expire_time=decision.expire_time if decision.HasField("expire_time") else None,
    )


class _Said(NamedTuple):
    """What a decision states about the person at the time of the refusal.

    A field is None if the decision states nothing about it.
    """

    entitled: bool | None
    refusable: bool | None


def _read(decision: ShownDecision, refuse_time: Instant, *, was_shown: bool) -> _Said:
    use_time = from_timestamp(decision.use_time)
    entitled = was_entitled(
        decision.outcome,
        use_time,
        from_timestamp(decision.expire_time) if decision.HasField("expire_time") else None,
        refuse_time,
    )
    refusable = was_refusable(
        decision.outcome,
        refusal_permitted=decision.refusal_permitted,
        was_shown=was_shown,
        use_time=use_time,
        refuse_time=refuse_time,
    )
    return _Said(entitled, refusable)


def _either(said: Sequence[bool | None], *, weighs_more: bool) -> bool | None:
    """Combine what decisions say. If the decisions differ, `weighs_more` is returned.

    Return None if no decision says anything.
    """
    if weighs_more in said:
        return weighs_more
    return not weighs_more if (not weighs_more) in said else None
