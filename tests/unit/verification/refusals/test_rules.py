"""How reports of refusal are assessed."""

from __future__ import annotations

import pytest
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import DAY, HOUR, MINUTE, SECOND
from services.verification.refusals.rules import (
    NOT_UNLAWFUL,
    UNDETERMINED,
    UNLAWFUL,
    assess,
    forbidden_among,
    was_entitled,
)

NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
NOON = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00, a Thursday."""
RECOGNIZED = decision_pb2.DECISION_OUTCOME_RECOGNIZED
NOT_RECOGNIZED = decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED
NOT_REQUIRED = decision_pb2.DECISION_OUTCOME_NOT_REQUIRED


@pytest.mark.parametrize(
    ("forbidden", "rule_known", "entitled", "judgement"),
    [
        ((NOT_LOCAL,), True, False, UNLAWFUL),
        ((NOT_LOCAL,), True, None, UNLAWFUL),
        ((), True, True, UNLAWFUL),
        ((), False, True, UNLAWFUL),
        ((), True, False, NOT_UNLAWFUL),
        ((), True, None, UNDETERMINED),
        ((), False, False, UNDETERMINED),
    ],
)
def test_judgement(forbidden: tuple[int, ...], rule_known: bool, entitled: bool | None, judgement: int) -> None:
    """A forbidden ground or an entitled person is unlawful; otherwise both must be known to say it was not."""
    assert assess(forbidden, rule_known=rule_known, entitled=entitled) == judgement  # type: ignore[arg-type]


def test_forbidden_grounds_are_those_of_the_place() -> None:
    """Only what the place's rules forbid counts as forbidden."""
    assert forbidden_among((NOT_LOCAL, EXPIRED), (NOT_LOCAL,)) == (NOT_LOCAL,)


@pytest.mark.parametrize(
    ("outcome", "expire_time", "refuse_time", "entitled"),
    [
        (RECOGNIZED, NOON + DAY, NOON, True),
        (RECOGNIZED, NOON + DAY, NOON + 23 * HOUR, True),
        (RECOGNIZED, NOON + DAY, NOON + DAY, None),
        (RECOGNIZED, NOON + DAY, NOON - 1, None),
        (NOT_REQUIRED, None, NOON + MINUTE, True),
        (NOT_REQUIRED, None, NOON + 2 * HOUR, None),
        (NOT_RECOGNIZED, None, NOON + MINUTE, False),
        (NOT_RECOGNIZED, None, NOON + 2 * HOUR, None),
        (decision_pb2.DECISION_OUTCOME_UNDETERMINED, None, NOON, None),
    ],
)
def test_what_a_decision_says_of_the_instant_of_refusal(
    outcome: int, expire_time: int | None, refuse_time: int, entitled: bool | None
) -> None:
    """A recognition holds until it ends, everything else for an hour, nothing for the time before."""
    assert was_entitled(outcome, NOON, expire_time, refuse_time) is entitled  # type: ignore[arg-type]
