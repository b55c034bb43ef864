"""Finds in a decision's evidence what is to be remembered and flagged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hutong.results.v1 import lab_pb2, lookup_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import shanghai_day
from services.domain.subject import Pepper
from services.verification.decision.model import NATIONAL_RESULTS, SOURCE_OK, Decision, Evidence, Inputs
from services.verification.showings.model import (
    LAB_NOT_REGISTERED,
    NUMBER_WITHOUT_DIGIT,
    Showing,
    has_no_digit,
    tags_of,
)

if TYPE_CHECKING:
    from services.verification.showings.model import FlagKind

_NOT_WEIGHED = {decision_pb2.EVIDENCE_USE_NOT_NEEDED, decision_pb2.EVIDENCE_USE_OTHER_ITEM}
_SAME_AS_RECORD = decision_pb2.EVIDENCE_USE_SAME_AS_RECORD
_HAS_RECORD = {
    lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND,
    lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM,
}

PairedClaims = Sequence[lookup_pb2.ClaimedReportMatch | None]
"""For each piece of evidence, in order, what Results found of its report; None if Results was not asked about it."""


class KeptDecision(NamedTuple):
    """A decision that is kept.

    Attributes:
        region: the place.
        subject_keys: the subject key of the person under each version of the pepper that is in use.
    """

    uuid: str
    region: str
    subject_keys: Sequence[tuple[Pepper, bytes]]


def find_showings(kept: KeptDecision, decision: Decision, inputs: Inputs, claims: PairedClaims) -> tuple[Showing, ...]:
    """Return the reports that were shown for a decision and weighed. Others are neither remembered nor flagged."""
    if not inputs.evidence:
        return ()
    uses = {one.subject: one.use for one in decision.considered if isinstance(one.subject, Evidence)}
    has_nation = any(it.source == NATIONAL_RESULTS and it.state == SOURCE_OK for it in inputs.sources)
    showings = []
    for index, evidence in enumerate(inputs.evidence):
        use = uses.get(evidence, decision_pb2.EVIDENCE_USE_NOT_NEEDED)
        if use in _NOT_WEIGHED:
            continue
        claim = claims[index] if index < len(claims) else None
        lab = (claim.lab if claim is not None and claim.lab else evidence.lab).removeprefix("labs/")
        is_certain = use == _SAME_AS_RECORD
        showings.append(
            Showing(
                lab,
                evidence.report_number,
                frozenset() if is_certain else flag_alone(evidence, claim, has_nation=has_nation),
                is_certain,
                bool(lab and evidence.report_number),
                tuple([tags_of(lab, evidence, key, pepper) for pepper, key in kept.subject_keys]),
                kept.uuid,
                kept.region,
                shanghai_day(inputs.evaluate_time),
            )
        )
    return tuple(showings)


def flag_alone(
    evidence: Evidence, claim: lookup_pb2.ClaimedReportMatch | None, *, has_nation: bool
) -> frozenset[FlagKind]:
    """Return the flags that follow from a piece of evidence and the registers, without other showings.

    A laboratory is flagged only if the nation answered, because the registers of other provinces are not known here.
    """
    found: set[FlagKind] = set()
    if has_no_digit(evidence.report_number):
        found.add(NUMBER_WITHOUT_DIGIT)
    if evidence.lab and claim is not None and has_nation and not is_registered(claim):
        found.add(LAB_NOT_REGISTERED)
    return frozenset(found)


def is_registered(claim: lookup_pb2.ClaimedReportMatch) -> bool:
    """Whether Results found the laboratory of a claim in a register."""
    return (
        bool(claim.lab_region) or claim.lab_standing != lab_pb2.LAB_STANDING_UNSPECIFIED or claim.state in _HAS_RECORD
    )
