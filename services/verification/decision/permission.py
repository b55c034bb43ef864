"""Which sources answered, and whether the place may refuse the holder. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.actions import ALL_ANSWERED, NATION_NOT_ASKED, NO_ANSWER
from services.verification.decision.model import NATIONAL_RESULTS, SOURCE_OK, UNANSWERED, EffectivePolicy, SourceStatus

if TYPE_CHECKING:
    from services.verification.decision.model import EvidenceUse, Ground

SUSPECT = frozenset({pb.EVIDENCE_USE_CONTRADICTS_RECORD, pb.EVIDENCE_USE_DENIED_BY_LAB})
"""Uses of evidence that may be forged: it contradicts its record, or its laboratory denies it."""

_FOR_A_POSITIVE = (refusal_ground_pb2.REFUSAL_GROUND_POSITIVE_RESULT,)


def was_nation_asked(sources: Iterable[SourceStatus]) -> bool:
    """Return whether the nation was asked, even if it did not answer.

    The nation is asked unless the scope is LOCAL. At the nation's own node it always counts as asked.
    """
    return any(source.source == NATIONAL_RESULTS and _was_asked(source) for source in sources)


def has_unanswered(sources: Iterable[SourceStatus]) -> bool:
    """Return whether a source that was asked did not answer."""
    return any(source.state in UNANSWERED for source in sources)


def describe_sources(sources: Iterable[SourceStatus]) -> int:
    """Return the flags of `actions` that describe the sources."""
    sources = tuple(sources)
    heard = 0 if was_nation_asked(sources) else NATION_NOT_ASKED
    if has_unanswered(sources):
        heard |= NO_ANSWER
    return heard or ALL_ANSWERED


def grounds_of_lack(uses: Iterable[EvidenceUse]) -> tuple[Ground, ...]:
    """Return the grounds of a refusal for lack of a valid result. If one of them is forbidden, so is the refusal."""
    found = [refusal_ground_pb2.REFUSAL_GROUND_NO_PROOF]
    uses = set(uses)
    if pb.EVIDENCE_USE_EXPIRED in uses:
        found.append(refusal_ground_pb2.REFUSAL_GROUND_EXPIRED)
    if not SUSPECT.isdisjoint(uses):
        found.append(refusal_ground_pb2.REFUSAL_GROUND_SUSPECTED_FORGERY)
    return tuple(found)


def may_refuse_for_positive(policy: EffectivePolicy, sources: Iterable[SourceStatus]) -> bool:
    """Return whether the place may refuse for a positive result or pool that no later negative has cleared."""
    return _may_refuse(policy, sources, _FOR_A_POSITIVE)


def may_refuse_for_lack(policy: EffectivePolicy, sources: Iterable[SourceStatus], uses: Iterable[EvidenceUse]) -> bool:
    """Return whether the place may refuse for lack of a valid result. `uses` has the use of all that was weighed."""
    return _may_refuse(policy, sources, grounds_of_lack(uses))


def _may_refuse(policy: EffectivePolicy, sources: Iterable[SourceStatus], grounds: Iterable[Ground]) -> bool:
    if policy.required is None or not policy.required.refusal_permitted:
        return False
    return was_nation_asked(sources) and not any(ground in policy.forbidden_grounds for ground in grounds)


def _was_asked(source: SourceStatus) -> bool:
    return source.state == SOURCE_OK or source.state in UNANSWERED
