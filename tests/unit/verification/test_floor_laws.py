"""Laws of floors from publication to the decision: what a floor does to a policy never harms the person."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.region import NATION
from services.policy.convert import answer_to_proto
from services.policy.model import SAME_PROVINCE, Revision
from services.policy.rules.resolve import PolicyBook
from services.verification.decision.decide import decide
from services.verification.decision.favour import favour
from services.verification.decision.model import EffectivePolicy, Inputs
from services.verification.sources.convert import policy_from_proto
from tests.support.policy.factories import ITEMS, make_revision, random_requirement
from tests.support.verification.decision_inputs import random_inputs


def effective(*revisions: Revision) -> EffectivePolicy:
    """Return what applies to hotels of a district of Zhengzhou, as Verification receives it."""
    return policy_from_proto(answer_to_proto(PolicyBook(revisions).resolve_class("410105", 4, SAME_PROVINCE, 0)))


def any_items(choose: Random, inputs: Inputs) -> Inputs:
    """Return inputs without evidence, of which every record is of some item that policies accept.

    Evidence may lack the report time, from which a floor lets it count.
    """
    records = tuple(record._replace(item=choose.choice(ITEMS)) for record in inputs.records)
    return inputs._replace(records=records, evidence=(), claims=(), elsewhere=None)


@given(st.integers(0, 10**9))
@settings(deadline=None, max_examples=200)
def test_one_more_floor_never_makes_a_decision_worse(seed: int) -> None:
    """Whatever items the policy accepts, and whatever is recorded: as good for the person, in expiry too."""
    choose = Random(seed)
    asking, floor = (
        make_revision(region, floor=region == NATION, requirement=random_requirement(choose, region == NATION))
        for region in ("410100", NATION)
    )
    before, after = effective(asking), effective(asking, floor)
    for _ in range(20):
        inputs = any_items(choose, random_inputs(choose))
        decisions = [decide(inputs._replace(policy=policy)) for policy in (before, after)]
        assert favour(decisions[1]) <= favour(decisions[0])
