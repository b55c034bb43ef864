"""How reports of refusal are assessed."""

from __future__ import annotations

import pytest
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import DAY, HOUR, MINUTE, SECOND
from services.runtime.caller import LOCAL, Caller
from services.verification.refusals.rules import (
    NOT_UNLAWFUL,
    UNDETERMINED,
    UNLAWFUL,
    assess,
    forbidden_among,
    may_read_words,
    was_entitled,
    was_refusable,
)
from tests.support.verification.refusals import make_refusal

NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
NOON = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00, a Thursday."""
RECOGNIZED = decision_pb2.DECISION_OUTCOME_RECOGNIZED
NOT_RECOGNIZED = decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED
NOT_REQUIRED = decision_pb2.DECISION_OUTCOME_NOT_REQUIRED
UNKNOWN = decision_pb2.DECISION_OUTCOME_UNDETERMINED
REPEAT = refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED


@pytest.mark.parametrize(
    ("forbidden", "rule_known", "entitled", "refusable", "assessment"),
    [
        ((NOT_LOCAL,), True, False, True, UNLAWFUL),
        ((NOT_LOCAL,), True, None, None, UNLAWFUL),
        ((), True, True, False, UNLAWFUL),
        ((), False, True, None, UNLAWFUL),
        ((), True, False, True, NOT_UNLAWFUL),
        ((), True, False, False, UNLAWFUL),
        ((), True, None, False, UNLAWFUL),
        ((), True, None, None, UNDETERMINED),
        ((), False, False, True, UNDETERMINED),
    ],
)
def test_assessment(
    forbidden: tuple[int, ...], rule_known: bool, entitled: bool | None, refusable: bool | None, assessment: int
) -> None:
    """Unlawful is a forbidden ground, an entitled person, or no permission; otherwise all must be known."""
    assessed = assess(forbidden, rule_known=rule_known, entitled=entitled, refusable=refusable)  # type: ignore[arg-type]
    assert assessed == assessment


def test_forbidden_grounds_are_those_of_the_place() -> None:
    """Only grounds that the rules of the place forbid count as forbidden."""
    assert forbidden_among((NOT_LOCAL, EXPIRED), (NOT_LOCAL,), entitled=None) == (NOT_LOCAL,)


@pytest.mark.parametrize(("entitled", "counts"), [(True, True), (False, False), (None, False)])
def test_a_repeat_test_is_demanded_only_of_a_person_who_was_entitled(entitled: bool | None, counts: bool) -> None:
    """For any other person it is a first test, which the place may ask for."""
    assert forbidden_among((REPEAT,), (REPEAT,), entitled=entitled) == ((REPEAT,) if counts else ())


@pytest.mark.parametrize(
    ("outcome", "permitted", "was_shown", "refuse_time", "refusable"),
    [
        (NOT_RECOGNIZED, True, True, NOON, True),
        (NOT_RECOGNIZED, False, True, NOON, False),
        (NOT_RECOGNIZED, False, False, NOON + HOUR, False),
        (UNKNOWN, False, True, NOON, False),
        (UNKNOWN, False, False, NOON, None),
        (NOT_RECOGNIZED, False, True, NOON + HOUR + 1, None),
        (NOT_RECOGNIZED, False, True, NOON - 1, None),
    ],
)
def test_whether_a_decision_permitted_the_refusal(
    outcome: int, permitted: bool, was_shown: bool, refuse_time: int, refusable: bool | None
) -> None:
    """A decision that was shown binds the place, undetermined or not.

    A later decision says only what can be known later.
    """
    said = was_refusable(
        outcome,  # type: ignore[arg-type]
        refusal_permitted=permitted,
        was_shown=was_shown,
        use_time=NOON,
        refuse_time=refuse_time,
    )
    assert said is refusable


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


@pytest.mark.parametrize(
    ("role", "region", "reads"),
    [
        ("supervisor", "000000", ["000000"]),
        ("supervisor", "410000", ["000000", "410100"]),
        ("app", "", ["000000", "410100"]),
        (LOCAL, "", ["000000", "410100"]),
    ],
)
def test_the_nations_supervisors_read_words_only_where_the_nation_answers(
    role: str, region: str, reads: list[str]
) -> None:
    """Supervisors of the place's region, and the caller that reported the refusal, always read them."""
    caller = Caller(role, region=region)
    reports = [make_refusal(NOON, responsible_node=node) for node in ("000000", "410100")]
    assert [one.responsible_node for one in reports if may_read_words(caller, one)] == reads
