"""Assesses reported refusals: whether a refusal was lawful. Pure."""

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
"""How long after its use time a decision counts for a refusal. People argue before they are refused."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A person's report that a valid result was not recognised. It identifies the person only by a keyed hash.

    Attributes:
        decision: the UUID of the decision by which it was assessed; empty if there was none.
        answer_time: when it was answered; None while it is open.
        answer_actor: the name of the caller that answered; None if it is not known.
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
    answer_actor: str | None = None


def was_entitled(
    outcome: DecisionOutcome, use_time: Instant, expire_time: Instant | None, refuse_time: Instant
) -> bool | None:
    """Return whether the person was entitled to enter when refused, by a decision; None if the decision does not say.

    A decision counts from its use time for SPEAKS_FOR. A recognition counts until it expires.
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
    """Return whether a decision permitted the refusal; None if it does not say.

    A decision that was shown binds the place, whatever the outcome. If a decision was made later, for the report, and
    is UNDETERMINED, it says nothing about what was known at the refusal.
    """
    if refuse_time < use_time or refuse_time - use_time > SPEAKS_FOR:
        return None
    if not was_shown and outcome == decision_pb2.DECISION_OUTCOME_UNDETERMINED:
        return None
    return refusal_permitted


def outweighs_what_was_shown(reason: Reason) -> bool:
    """Return whether a decision made for the time of refusal replaces the decision that was shown before.

    It replaces the shown decision if it found a positive, because a positive ends a recognition. It then counts even if
    other sources did not answer.
    """
    return reason in _POSITIVE


def forbidden_among(
    grounds: Iterable[Ground], forbidden_here: Collection[Ground], *, entitled: bool | None
) -> tuple[Ground, ...]:
    """Return the grounds of a refusal that the policy at the place forbids.

    The demand of a repeat test is forbidden only if a decision says that the person was entitled to enter. Otherwise
    the demanded test does not repeat one that counts.
    """
    return tuple(
        ground for ground in grounds if ground in forbidden_here and (ground != _REPEAT_TEST or entitled is True)
    )


def assess(
    forbidden: Collection[Ground], *, rule_known: bool, entitled: bool | None, refusable: bool | None
) -> Assessment:
    """Return the assessment of a refusal.

    A refusal is unlawful on a forbidden ground, or if the person was entitled, or if a decision did not permit it.

    Args:
        forbidden: the grounds of the refusal that are forbidden there.
        rule_known: whether it is known which policy applied.
        entitled: whether the person was entitled; None if no decision says.
        refusable: whether a decision permitted the refusal; None if no decision says.
    """
    if forbidden or entitled or refusable is False:
        return UNLAWFUL
    if not rule_known or entitled is None:
        return UNDETERMINED
    return NOT_UNLAWFUL
