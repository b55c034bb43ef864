"""Reports of non-recognition and whether they tell of something unlawful. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hutong.verification.v1 import decision_pb2, refusal_pb2

from services.domain.instant import Instant

if TYPE_CHECKING:
    from hutong.type.v1 import purpose_pb2

    from services.verification.model import Ground

    Judgement: TypeAlias = refusal_pb2.RefusalJudgement.ValueType
    Purpose: TypeAlias = purpose_pb2.Purpose.ValueType

UNLAWFUL = refusal_pb2.REFUSAL_JUDGEMENT_UNLAWFUL
NOT_UNLAWFUL = refusal_pb2.REFUSAL_JUDGEMENT_NOT_UNLAWFUL
UNDETERMINED = refusal_pb2.REFUSAL_JUDGEMENT_UNDETERMINED

_ENTITLED = frozenset({decision_pb2.DECISION_OUTCOME_RECOGNIZED, decision_pb2.DECISION_OUTCOME_NOT_REQUIRED})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A person's report that a valid result was not recognised. Knows the person by a keyed hash alone.

    `decision` is the UUID of the decision it was judged by, empty for none; `answer_time` None while it is open.
    """

    uuid: str
    region: str
    venue: str
    purpose: Purpose
    refuse_time: Instant
    grounds: tuple[Ground, ...]
    forbidden_grounds: tuple[Ground, ...]
    decision: str
    judgement: Judgement
    statement: str
    subject_key: bytes | None
    key_version: int
    create_time: Instant
    answer: str = ""
    answer_time: Instant | None = None


def was_entitled(decision: decision_pb2.Decision, at: Instant, use_time: Instant, expire: Instant | None) -> bool | None:
    """Whether the decision says that the person was to be let in at an instant; None when it does not say.

    A decision speaks for its own time of use, and a recognition also for every later instant before it ends.
    """
    if decision.outcome == decision_pb2.DECISION_OUTCOME_UNDETERMINED:
        return None
    if decision.outcome in _ENTITLED:
        if at == use_time or (use_time < at and expire is not None and at < expire):
            return True
        return None
    return False if at == use_time else None


def forbidden_among(grounds: Iterable[Ground], forbidden_here: Collection[Ground]) -> tuple[Ground, ...]:
    """Those of the grounds on which nobody may be refused there."""
    return tuple(ground for ground in grounds if ground in forbidden_here)


def judge(forbidden: Collection[Ground], *, rule_known: bool, entitled: bool | None) -> Judgement:
    """Whether a refusal was lawful, as far as can be told.

    Unlawful is a refusal on any forbidden ground, and one of a person who was entitled, on whatever ground. `entitled`
    None: it is not known whether the person was.
    """
    if forbidden or entitled:
        return UNLAWFUL
    if not rule_known or entitled is None:
        return UNDETERMINED
    return NOT_UNLAWFUL
