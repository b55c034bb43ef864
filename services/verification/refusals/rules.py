"""Assesses reported refusals: whether a refusal was lawful. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2, refusal_pb2

from services.domain.instant import HOUR, Instant, Span
from services.domain.region import NATION
from services.runtime.caller import Caller
from services.verification.refusals.routing import Responsibility

if TYPE_CHECKING:
    from hutong.type.v1 import purpose_pb2

    from services.verification.decision.model import DecisionOutcome, Ground, Reason

    Assessment: TypeAlias = refusal_pb2.RefusalAssessment.ValueType
    Purpose: TypeAlias = purpose_pb2.Purpose.ValueType
    State: TypeAlias = refusal_pb2.RefusalState.ValueType
    VenueKind: TypeAlias = refusal_pb2.VenueKind.ValueType

UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL
NOT_UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_NOT_UNLAWFUL
UNDETERMINED = refusal_pb2.REFUSAL_ASSESSMENT_UNDETERMINED

ASSESSMENT = ("assessment", "forbidden_grounds", "decision", "assess_node", "assess_time")
"""The fields of a report's assessment. The last field is None while the report is not assessed."""
ANSWER = ("answer", "answer_actor", "answer_node", "answer_time")
"""The fields of a report's answer. The last field is None while the report is not answered."""

_REPEAT_TEST = refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED
_POSITIVE = frozenset({decision_pb2.DECISION_REASON_POSITIVE_RESULT, decision_pb2.DECISION_REASON_PENDING_RECHECK})

SPEAKS_FOR: Span = HOUR
"""How long after its use time a decision counts for a refusal. A refusal may follow the decision after an argument."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A person's report that a valid result was not recognised. It identifies the person only by a keyed hash.

    The fields are the columns of `tables.refusals`, which describes them. Nodes are named by their regions.

    Attributes:
        decision: the UUID of the decision by which it was assessed; empty if there was none.
        assessment: 0 while it is not assessed.
        answer_time: when it was answered; None while it is not.
        answer_actor: the name of the caller that answered; None if it is not known here.
        assess_time: when it was assessed; None while it is not.
    """

    uuid: str
    region: str
    venue: str
    purpose: Purpose
    refuse_time: Instant
    grounds: tuple[Ground, ...]
    statement: str
    subject_key: bytes | None
    key_version: int
    create_time: Instant
    forbidden_grounds: tuple[Ground, ...] = ()
    decision: str = ""
    assessment: Assessment = refusal_pb2.REFUSAL_ASSESSMENT_UNSPECIFIED
    answer: str = ""
    answer_time: Instant | None = None
    answer_actor: str | None = None
    venue_kind: VenueKind = refusal_pb2.VENUE_KIND_UNSPECIFIED
    arriving_from: str = ""
    answer_node: str = ""
    origin_node: str = ""
    other_subject_key: bytes | None = None
    code: str | None = None
    evidence: bytes = b""
    shown_decision: bytes = b""
    request_hash: bytes | None = None
    same_report_key: bytes | None = None
    other_same_report_key: bytes | None = None
    duplicate_of: str = ""
    assess_node: str = ""
    assess_time: Instant | None = None
    responsible_node: str = ""
    due_time: Instant = 0
    escalation_count: int = 0

    @property
    def responsibility(self) -> Responsibility:
        """The node that answers the report, and when the answer is due."""
        return Responsibility(self.responsible_node, self.due_time, self.escalation_count)

    def with_responsibility(self, taken: Responsibility) -> Refusal:
        """Return the report with another responsibility."""
        return replace(
            self,
            responsible_node=taken.node,
            due_time=taken.due_time,
            escalation_count=taken.escalation_count,
        )

    def as_duplicate_of(self, uuid: str) -> Refusal:
        """Return the report as a duplicate of an earlier one of the same refusal."""
        return replace(self, duplicate_of=uuid, same_report_key=None, other_same_report_key=None)

    def with_part(self, other: Refusal, part: Iterable[str]) -> Refusal:
        """Return the report with some fields of another report of the same refusal, or of another copy of this report.

        An assessed report has neither evidence nor a shown decision, because only the assessment needs them.
        """
        taken = replace(self, **{name: getattr(other, name) for name in part})
        return taken if taken.assess_time is None else replace(taken, evidence=b"", shown_decision=b"")

    def with_what_is_known(self, other: Refusal) -> Refusal:
        """Return the report, filled in from another report of the same refusal.

        The report gets the assessment of the other report if it has no assessment, and the answer if it has no answer.
        """
        filled = self
        for part in (ASSESSMENT, ANSWER):
            if getattr(filled, part[-1]) is None:
                filled = filled.with_part(other, part)
        return filled

    def is_overdue(self, now: Instant) -> bool:
        """Return whether the report has no answer although the answer is due."""
        return self.answer_time is None and self.due_time < now

    @property
    def subject_keys(self) -> list[bytes]:
        """The keys of the document that are known here."""
        return [key for key in (self.subject_key, self.other_subject_key) if key is not None]

    @property
    def same_report_keys(self) -> list[bytes]:
        """The hashes that another report of the same refusal may have in common with it."""
        return [key for key in (self.same_report_key, self.other_same_report_key) if key is not None]

    def with_keys_of(self, keys: Collection[bytes]) -> Refusal:
        """Return the report with the hash of the other version of the pepper, if `keys` contains that hash.

        `keys` are the hashes of another report of the same refusal. One of them must be this report's own hash.
        """
        own = self.same_report_keys
        new = [key for key in keys if key not in own]
        if len(own) != 1 or own[0] not in keys or not new:
            return self
        return replace(self, other_same_report_key=new[0])


def may_read_words(caller: Caller, refusal: Refusal) -> bool:
    """Return whether a caller who may read a report may also read the person's words in it.

    A supervisor of the nation reads the words only in reports that the nation itself answers.
    """
    return caller.role != "supervisor" or caller.region != NATION or refusal.responsible_node == NATION


def was_entitled(
    outcome: DecisionOutcome, use_time: Instant, expire_time: Instant | None, refuse_time: Instant
) -> bool | None:
    """Return whether a decision entitled the person to enter at the time of the refusal; None if it does not say.

    A decision counts from its use time until SPEAKS_FOR later. A recognition counts until it expires.
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

    A decision that was shown binds the place, whatever the outcome. An UNDETERMINED decision that was made later, for
    the report, says nothing about what was known at the refusal.
    """
    if refuse_time < use_time or refuse_time - use_time > SPEAKS_FOR:
        return None
    if not was_shown and outcome == decision_pb2.DECISION_OUTCOME_UNDETERMINED:
        return None
    return refusal_permitted


def outweighs_what_was_shown(reason: Reason) -> bool:
    """Return whether a decision made for the time of refusal replaces the decision that was shown before.

    It replaces the shown decision if it found a positive, because a positive ends a recognition. Such a decision counts
    even if other sources did not answer.
    """
    return reason in _POSITIVE


def forbidden_among(
    grounds: Iterable[Ground], forbidden_here: Collection[Ground], *, entitled: bool | None
) -> tuple[Ground, ...]:
    """Return the grounds of a refusal that the policy at the place forbids.

    The demand of a repeat test is forbidden only if a decision says that the person was entitled to enter. Otherwise
    the demanded test does not repeat a test that counts.
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
