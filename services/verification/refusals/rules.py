"""Reports of non-recognition, and whether the refusal they report was lawful. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hutong.verification.v1 import decision_pb2, refusal_pb2

from services.domain.instant import HOUR, Instant, Span

if TYPE_CHECKING:
    from hutong.type.v1 import purpose_pb2

    from services.verification.decision.model import DecisionOutcome, Ground, Reason

    Assessment: TypeAlias = refusal_pb2.RefusalJudgement.ValueType
    Purpose: TypeAlias = purpose_pb2.Purpose.ValueType

UNLAWFUL = refusal_pb2.REFUSAL_JUDGEMENT_UNLAWFUL
NOT_UNLAWFUL = refusal_pb2.REFUSAL_JUDGEMENT_NOT_UNLAWFUL
UNDETERMINED = refusal_pb2.REFUSAL_JUDGEMENT_UNDETERMINED

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
    judgement: Assessment
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


def outweighs_what_was_shown(reason: Reason) -> bool:
    """Whether a decision made for the instant of refusal leaves nothing to one that was shown before.

    That is where it found a positive: whoever had been recognised until then no longer was. The source that holds the
    positive has answered, whoever else has not.
    """
    return reason in _POSITIVE


def forbidden_among(grounds: Iterable[Ground], forbidden_here: Collection[Ground]) -> tuple[Ground, ...]:
    """Those of the grounds on which nobody may be refused there."""
    return tuple(ground for ground in grounds if ground in forbidden_here)


def assess(forbidden: Collection[Ground], *, rule_known: bool, entitled: bool | None) -> Assessment:
    """Whether a refusal was lawful, as far as can be told.

    Unlawful is a refusal on any forbidden ground, and one of a person who was entitled, on whatever ground. `entitled`
    None: it is not known whether the person was.
    """
    if forbidden or entitled:
        return UNLAWFUL
    if not rule_known or entitled is None:
        return UNDETERMINED
    return NOT_UNLAWFUL
