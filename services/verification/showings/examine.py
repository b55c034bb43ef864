"""Finds in a decision's evidence what is to be remembered and flagged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.exchange.v1.replicated_refusal_pb2 import (
    SIGNATURE_VERDICT_FOR_HOLDER,
    SIGNATURE_VERDICT_FOR_OTHER_DOCUMENT,
    SIGNATURE_VERDICT_FOR_UNKNOWN_DOCUMENT,
    SIGNATURE_VERDICT_NOT_VALID,
    SIGNATURE_VERDICT_UNSPECIFIED,
    SignatureVerdict,
)
from hutong.results.v1 import lab_pb2, lookup_pb2
from hutong.verification.v1 import decision_pb2
from hutong_client.reports.signed import SealedReport, is_signed_with

from services.domain.instant import shanghai_day
from services.domain.subject import Pepper
from services.verification.cases.model import KIND_OF_USE
from services.verification.decision.model import NATIONAL_RESULTS, SOURCE_OK, Decision, Evidence, Inputs
from services.verification.showings.model import (
    LAB_NOT_REGISTERED,
    NUMBER_WITHOUT_DIGIT,
    SIGNATURE_NOT_VALID,
    SIGNED_FOR_OTHER_DOCUMENT,
    Showing,
    has_no_digit,
    tags_of,
)

if TYPE_CHECKING:
    from services.verification.showings.model import FlagKind

Verdict: TypeAlias = "SignatureVerdict.ValueType"
"""What was found of the signature of a report."""

SIGNATURES_KEPT = 10_000
"""How many answers of `is_good_signature` are kept. Each takes about 1 KiB."""
_NOT_WEIGHED = {decision_pb2.EVIDENCE_USE_NOT_NEEDED, decision_pb2.EVIDENCE_USE_OTHER_ITEM}
_SAME_AS_RECORD = decision_pb2.EVIDENCE_USE_SAME_AS_RECORD
_SIGNED = frozenset(
    {
        SIGNATURE_VERDICT_FOR_HOLDER,
        SIGNATURE_VERDICT_FOR_OTHER_DOCUMENT,
        SIGNATURE_VERDICT_FOR_UNKNOWN_DOCUMENT,
    }
)
"""The verdicts on a good signature."""
_HAS_RECORD = {
    lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND,
    lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON,
    lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM,
}


class Signature(Enum):
    """The result of checking a signature.

    UNKNOWN means that this node does not know the key that the signature names.
    """

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


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


def find_showings(
    kept: KeptDecision,
    decision: Decision,
    inputs: Inputs,
    claims: PairedClaims,
    verdicts: Sequence[Verdict] = (),
) -> tuple[Showing, ...]:
    """Return the reports that were shown for a decision and weighed. Other reports are neither remembered nor flagged.

    `verdicts` has what was found of the signature of each piece of evidence. It may be shorter than the evidence. The
    remaining pieces then count as not signed.
    """
    weighed = {one.subject: one for one in decision.considered if isinstance(one.subject, Evidence)}
    has_nation = any(it.source == NATIONAL_RESULTS and it.state == SOURCE_OK for it in inputs.sources)
    showings = []
    for index, evidence in enumerate(inputs.evidence):
        considered = weighed.get(evidence)
        if considered is None or considered.use in _NOT_WEIGHED:
            continue
        use = considered.use
        claim = claim_of(claims, index)
        lab = lab_of(claim, evidence)
        kinds: frozenset[FlagKind] = flag_alone(evidence, claim, has_nation=has_nation)
        is_certain, is_signed = use == _SAME_AS_RECORD, False
        if not is_certain and index < len(verdicts):
            verdict = verdicts[index]
            is_signed = verdict in _SIGNED
            is_certain = verdict == SIGNATURE_VERDICT_FOR_HOLDER
            if is_signed:
                # The laboratory has issued what it has signed, whatever the report number looks like.
                is_for_other = verdict == SIGNATURE_VERDICT_FOR_OTHER_DOCUMENT
                kinds = frozenset({SIGNED_FOR_OTHER_DOCUMENT}) if is_for_other else frozenset()
            elif verdict == SIGNATURE_VERDICT_NOT_VALID:
                kinds |= {SIGNATURE_NOT_VALID}
        showings.append(
            Showing(
                lab,
                evidence.report_number,
                frozenset() if is_certain else kinds,
                is_certain,
                bool(lab and evidence.report_number),
                tuple([tags_of(lab, evidence, key, pepper) for pepper, key in kept.subject_keys]),
                kept.uuid,
                kept.region,
                shanghai_day(inputs.evaluate_time),
                is_signed,
                KIND_OF_USE.get(use),
                considered.differing_fields,
                inputs.evaluate_time,
            )
        )
    return tuple(showings)


def find_verdicts(signed: Sequence[SealedReport | None], claims: PairedClaims, number: str) -> tuple[Verdict, ...]:
    """Return what is found of the signature of each piece of evidence.

    Args:
        signed: for each piece of evidence its signed report, or None for a piece without a signed report; empty if no
            piece has a signed report.
        claims: what Results found, with the keys of the laboratories.
        number: the number of the person's document; empty if it is not known.
    """
    return tuple([_verdict(one, claim_of(claims, index), number) for index, one in enumerate(signed)])


def _verdict(sealed: SealedReport | None, claim: lookup_pb2.ClaimedReportMatch | None, number: str) -> Verdict:
    if sealed is None:
        return SIGNATURE_VERDICT_UNSPECIFIED
    signature = verify_signature(sealed, claim)
    if signature is not Signature.GOOD:
        return SIGNATURE_VERDICT_NOT_VALID if signature is Signature.BAD else SIGNATURE_VERDICT_UNSPECIFIED
    if not number or not sealed.report.digest:
        return SIGNATURE_VERDICT_FOR_UNKNOWN_DOCUMENT
    is_for_holder = sealed.report.is_for(number)
    return SIGNATURE_VERDICT_FOR_HOLDER if is_for_holder else SIGNATURE_VERDICT_FOR_OTHER_DOCUMENT


def claim_of(claims: PairedClaims, index: int) -> lookup_pb2.ClaimedReportMatch | None:
    """Return the claim of a piece of evidence; None if Results was not asked about it."""
    return claims[index] if index < len(claims) else None


def lab_of(claim: lookup_pb2.ClaimedReportMatch | None, evidence: Evidence) -> str:
    """Return the code of the laboratory of evidence, as Results found it or else as shown; empty if it is not known."""
    return (claim.lab if claim is not None and claim.lab else evidence.lab).removeprefix("labs/")


def verify_signature(sealed: SealedReport, claim: lookup_pb2.ClaimedReportMatch | None) -> Signature:
    """Verify a signed report with the laboratory's keys. A key counts for reports dated before its revocation."""
    date = sealed.report.sample_time if sealed.report.report_time is None else sealed.report.report_time
    signature = Signature.UNKNOWN
    for key in claim.signing_keys if claim is not None else ():
        if key.key_id == sealed.key_id:
            is_revoked = key.HasField("revoke_time") and (date is None or date >= key.revoke_time.seconds)
            if not is_revoked and is_good_signature(sealed, key.public_key):
                return Signature.GOOD
            signature = Signature.BAD
    return signature


@lru_cache(maxsize=SIGNATURES_KEPT)
def is_good_signature(sealed: SealedReport, public_key: bytes) -> bool:
    """Whether a report was signed with a key in DER. The answers for the newest reports are kept.

    A signature costs the event loop 130 µs. A batch may show one report thousands of times, and all of its items count
    as one person in the caller's budget.
    """
    return is_signed_with(sealed, public_key)


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
