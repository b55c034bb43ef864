"""Laws of floors from publication to the decision: what a floor does to a policy never harms the person."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.policy.convert import answer_to_proto
from services.policy.model import SAME_PROVINCE, Revision
from services.policy.rules.resolve import PolicyBook
from services.verification.decision.decide import decide
from services.verification.decision.favour import favour
from services.verification.decision.model import EffectivePolicy
from services.verification.sources.convert import policy_from_proto
from tests.support.policy.factories import ASKED, MONTH, PURPOSES, random_set
from tests.support.verification.decision_inputs import random_inputs


def effective(revisions: list[Revision], region: str, purpose: int, at: int) -> EffectivePolicy:
    """Return what applies as Verification receives it."""
    answer = PolicyBook(revisions).resolve_class(region, purpose, SAME_PROVINCE, at)
    return policy_from_proto(answer_to_proto(answer))


@given(st.integers(0, 10**9), st.sampled_from(ASKED), st.sampled_from(PURPOSES), st.integers(0, MONTH))
@settings(deadline=None, max_examples=60)
def test_one_more_floor_never_makes_a_decision_worse(seed: int, region: str, purpose: int, at: int) -> None:
    """Whatever items the policy accepts, and whatever is recorded and shown: as good for the person, in expiry too."""
    choose = Random(seed)
    revisions = random_set(choose, 12)
    floors = [one for one in random_set(choose, 12) if one.floor]
    assume(floors)
    more = replace(floors[0], region="000000", policy_id="more", purposes=(), start=-1, end=None, withdraw_time=None)
    before, after = (effective(them, region, purpose, at) for them in (revisions, [*revisions, more]))
    for _ in range(5):
        inputs = random_inputs(choose)._replace(elsewhere=None)
        decisions = [decide(inputs._replace(policy=policy)) for policy in (before, after)]
        assert favour(decisions[1]) <= favour(decisions[0])
