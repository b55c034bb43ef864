"""Reports of non-recognition, and whether the refusal they report was lawful. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2, refusal_pb2

from services.domain.instant import HOUR, Instant, Span

if TYPE_CHECKING:
    from hutong.type.v1 import purpose_pb2

    from services.verification.decision.model import DecisionOutcome, Ground, Reason

    Assessment: TypeAlias = refusal_pb2.RefusalAssessment.ValueType
    Purpose: TypeAlias = purpose_pb2.Purpose.ValueType

UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL
NOT_UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_NOT_UNLAWFUL
UNDETERMINED = refusal_pb2.REFUSAL_ASSESSMENT_UNDETERMINED

_REPEAT_TEST = refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED
_POSITIVE = frozenset({decision_pb2.DECISION_REASON_POSITIVE_RESULT, decision_pb2.DECISION_REASON_PENDING_RECHECK})

SPEAKS_FOR: Span = HOUR
"""How long after its time of use a decision tells how things stood: people argue before they are refused."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A person's report that a valid result was not recognised. Knows the person by a keyed hash alone.

    `decision` is the UUID of the decision it was assessed by, empty for none; `answer_time` None while it is open.
    """

    uuid: str
    region: str
    venue: str
    purpose: Purpose
    refuse_time: Instant
    grounds: tuple[Ground, ...]
    forbidden_grounds: tuple[Ground, ...]
    decision: str
    assessment: Assessment
    statement: str
    subject_key: bytes | None
    key_version: int
    create_time: Instant
    answer: str = ""
    answer_time: Instant | None = None


def was_entitled(
    outcome: DecisionOutcome, use_time: Instant, expire_time: Instant | None, refuse_time: Instant
) -> bool | None:
    """Whether a decision says that the person was to be let in when they were refused; None when it does not say.

    It speaks for its own time of use and a while after it, and a recognition until it ends.
    """
    if outcome == decision_pb2.DECISION_OUTCOME_UNDETERMINED or refuse_time < use_time:
        return None
    if outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED and expire_time is not None and refuse_time < expire_time:
        return True
    if refuse_time - use_time > SPEAKS_FOR:
        return None
    return outcome != decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED


def was_refusable(
    outcome: DecisionOutcome, *, refusal_permitted: bool, was_shown: bool, use_time: Instant, refuse_time: Instant
) -> bool | None:
    """Whether a decision permitted the place to refuse the person when they were refused; None when it does not say.

    A decision that was shown at the place binds it, whatever its outcome. One that is made for the report and is
    UNDETERMINED says only what cannot be known by now.
    """
    if refuse_time < use_time or refuse_time - use_time > SPEAKS_FOR:
        return None
    if not was_shown and outcome == decision_pb2.DECISION_OUTCOME_UNDETERMINED:
        return None
    return refusal_permitted


def outweighs_what_was_shown(reason: Reason) -> bool:
    """Whether a decision made for the instant of refusal leaves nothing to one that was shown before.

    That is where it found a positive: whoever had been recognised until then no longer was. The source that holds the
    positive has answered, whoever else has not.
    """
    return reason in _POSITIVE


def forbidden_among(
    grounds: Iterable[Ground], forbidden_here: Collection[Ground], *, entitled: bool | None
) -> tuple[Ground, ...]:
    """Those of the grounds on which nobody may be refused there.

    A repeat test is demanded only of a person who was entitled; of anybody else it is a first one.
    """
    return tuple(
        ground for ground in grounds if ground in forbidden_here and (ground != _REPEAT_TEST or entitled is True)
    )


def assess(
    forbidden: Collection[Ground], *, rule_known: bool, entitled: bool | None, refusable: bool | None
) -> Assessment:
    """Whether a refusal was lawful, as far as can be told.

    Unlawful is a refusal on any forbidden ground, one of a person who was entitled, and one that no decision permitted,
    on whatever ground. None stands for what no decision says.
    """
    if forbidden or entitled or refusable is False:
        return UNLAWFUL
    if not rule_known or entitled is None:
        return UNDETERMINED
    return NOT_UNLAWFUL
