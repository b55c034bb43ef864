"""Recognises the only record of a person by the general rules, without making a whole decision. Pure."""

from __future__ import annotations

from services.verification.decision.items import item_rules
from services.verification.decision.model import Inputs, Record
from services.verification.decision.positives import POSITIVES
from services.verification.decision.validity import hold_to_windows
from services.verification.decision.weigh import Weighed, weigh_record


def can_recognize_lone(inputs: Inputs) -> bool:
    """Return whether `recognize_lone` applies: one policy asks for a result, and no evidence is shown."""
    policy = inputs.policy
    if policy is None or inputs.elsewhere is not None or inputs.evidence:
        return False
    return bool(policy.governing) and policy.required is not None and not policy.asks_nothing


def recognize_lone(record: Record, inputs: Inputs) -> Weighed | None:
    """Return the record with its basis time and expire time if `decide` would recognise it; otherwise None.

    `record` is the only record. The records of `inputs` are not read. A lone record that is no positive cannot be
    outweighed, so it is recognised if it counts at the use time.
    """
    if record.outcome in POSITIVES:
        return None
    assert inputs.policy is not None
    required = inputs.policy.required
    assert required is not None
    items = item_rules(required)
    one = weigh_record(record, items.weighed, inputs)
    return one if hold_to_windows((one,), items, required, inputs) else None
