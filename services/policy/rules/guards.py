"""Guards: check whether a policy may be published or withdrawn, and report all faults at once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from hutong.policy.v1 import policy_pb2

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument, PermissionDenied, Violation
from services.domain.instant import MINUTE, Instant, Span, format_instant
from services.domain.region import NATION, ancestry, is_region, within
from services.policy.model import ANY, FloorOverride, Revision
from services.policy.rules.resolve import BASIS, CHANNELS, PolicyBook, Segment, series_segments, united_channels

_BASES: Mapping[int, str] = {
    policy_pb2.VALIDITY_BASIS_REPORT_TIME: "the report's issue",
    policy_pb2.VALIDITY_BASIS_SAMPLE_TIME: "sampling",
}
RETROACTIVE_TOLERANCE: Span = 5 * MINUTE
"""How far in the past a policy may begin without a reason. It covers the time from writing "now" to sending it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A revision to be published, with the jurisdiction of the publishing node and the time."""

    revision: Revision
    jurisdiction: str
    now: Instant


def find_faults(revision: Revision) -> list[Violation]:
    """Return the faults of a policy that do not depend on other policies."""
    faults = []
    requirement = revision.requirement
    has_length = requirement.duration is not None or requirement.calendar_days is not None
    if not is_region(revision.region):
        faults.append(Violation("policy.name", "REGION_UNKNOWN", "the region is not one of GB/T 2260"))
    if _ends_too_soon(revision):
        faults.append(Violation("policy.effective_end_time", "INVALID_FIELD", "must be after effective_start_time"))
    if not _is_day(revision.source.issue_date):
        faults.append(Violation("policy.source.issue_date", "INVALID_FIELD", "is not a day of the calendar"))
    for length, field in (
        (requirement.duration, "window.duration"),
        (requirement.sampling_proof, "sampling_proof_window"),
    ):
        if length == 0:
            text = "must be at least a microsecond"
            faults.append(Violation(f"policy.test_required.{field}", "INVALID_FIELD", text))
    if revision.floor and not requirement.is_test:
        faults.append(Violation("policy.not_required", "INVALID_FIELD", "a floor states a basis, in test_required"))
    if revision.floor and has_length:
        text = "a floor has no length: the hours are each place's own"
        faults.append(Violation("policy.test_required.window.length", "INVALID_FIELD", text))
    if requirement.is_test and not revision.floor and not has_length:
        text = "needs a duration or calendar_days; only a floor has none"
        faults.append(Violation("policy.test_required.window.length", "INVALID_FIELD", text))
    return faults


def check_publication(publication: Publication, book: PolicyBook, broken_rules: Sequence[Violation] = ()) -> None:
    """Check that a revision may be published.

    Args:
        publication: the revision.
        book: the policies that are published already.
        broken_rules: rules of the contract that the policy breaks.

    Raises:
        InvalidArgument: the policy has faults of its own.
        PermissionDenied: NOT_PERMITTED, a node publishes only for its own jurisdiction and those below.
        FailedPrecondition: POLICY_BREACH, AMBIGUOUS or RETROACTIVE.
            The first of these that applies is raised. Its violations list all faults of every kind.
    """
    revision = publication.revision
    faults = [*broken_rules, *_beyond(broken_rules, find_faults(revision))]
    foreign = _find_foreign(revision.region, publication.jurisdiction, "policy.name")
    # An end before the start is a fault. The other faults are found as if the policy had no end.
    lived = replace(revision, end=None) if _ends_too_soon(revision) else revision
    segments = new_segments(lived, book)
    breaches = list(_find_floor_breaches(lived, segments, book))
    ties = list(_find_ties(lived, segments, book))
    violations = [*faults, *foreign, *breaches, *ties, *_find_retroactive(publication)]
    if faults:
        raise InvalidArgument.of(violations)
    if foreign:
        raise _not_permitted(revision.region, violations)
    if violations:
        raise _refusal("the policy may not be published", breaches, ties, violations)


def _beyond(reported: Sequence[Violation], faults: Sequence[Violation]) -> list[Violation]:
    """Return the faults of fields that have no reported fault yet."""
    fields = {violation.field for violation in reported}
    return [fault for fault in faults if fault.field not in fields]


def check_jurisdiction(region: str, jurisdiction: str) -> None:
    """Check that this node may change the policies of a region.

    Raises:
        PermissionDenied: NOT_PERMITTED, a node publishes and withdraws only for its own jurisdiction and those below.
    """
    foreign = _find_foreign(region, jurisdiction, "name")
    if foreign:
        raise _not_permitted(region, foreign)


def check_withdrawal(revision: Revision, book: PolicyBook) -> None:
    """Check that a revision may be withdrawn.

    It may not if that brings an older revision back into force that ties with another policy.

    Raises:
        FailedPrecondition: AMBIGUOUS, with each tie. The older revision or the other policy has to be withdrawn first.
    """
    others = [other for other in book.series(*revision.series) if other is not revision]
    ties = [
        tie
        for segment in series_segments(others)
        for tie in _find_ties(segment.revision, [segment], book)
        if segment not in book.segments(revision.region)
    ]
    if ties:
        raise _refusal("the revision may not be withdrawn", (), ties, ties)


def new_segments(revision: Revision, book: PolicyBook) -> list[Segment]:
    """Return when a new revision would be in force among the others of its series."""
    others = book.series(*revision.series)
    return [segment for segment in series_segments([*others, revision]) if segment.revision is revision]


def find_overridden(floor: Revision, book: PolicyBook) -> list[FloorOverride]:
    """What a new floor overrides in policies that stand already, from when."""
    found: list[FloorOverride] = []
    for own in new_segments(floor, book):
        for region in sorted(book.regions):
            if not within(region, floor.region):
                continue
            for segment in book.segments(region):
                lower = segment.revision
                if lower.series != floor.series and _overlap(own, segment):
                    found += _find_replaced(floor, lower, max(own.start, segment.start))
    return found


def _find_replaced(floor: Revision, lower: Revision, start: Instant) -> Iterator[FloorOverride]:
    """Yield what a floor replaces in a policy. Both are in force from `start` on."""
    if not (_share(floor.purposes, lower.purposes) and _share_origin(floor.origin, lower.origin)):
        return
    if _contradicts(floor, lower):
        stated, applied = (lower.requirement.basis,), (floor.requirement.basis,)
        yield FloorOverride(BASIS, stated, applied, floor.name, lower.name, start)
    joined = united_channels(lower.channels, floor.channels)
    if joined != lower.channels and not lower.floor:
        yield FloorOverride(CHANNELS, lower.channels, joined, floor.name, lower.name, start)


def _find_floor_breaches(revision: Revision, segments: Sequence[Segment], book: PolicyBook) -> Iterator[Violation]:
    for place in ancestry(revision.region):
        for floor in book.segments(place):
            if not floor.revision.floor or floor.revision.series == revision.series:
                continue
            if not _contradicts(floor.revision, revision):
                continue
            own = next((segment for segment in segments if _overlap(segment, floor)), None)
            if own is not None:
                since = format_instant(max(own.start, floor.start))
                basis = _BASES[floor.revision.requirement.basis]
                text = f"undercuts {_cite(floor.revision)}: validity counts from {basis}, since {since}"
                yield Violation("policy.test_required.window.basis", "POLICY_BREACH", text, floor.revision.name)


def _find_ties(revision: Revision, segments: Sequence[Segment], book: PolicyBook) -> Iterator[Violation]:
    if revision.floor:
        return
    for other in book.segments(revision.region):
        if other.revision.floor or other.revision.series == revision.series or not _ties(revision, other.revision):
            continue
        own = next((segment for segment in segments if _overlap(segment, other)), None)
        if own is not None:
            since = format_instant(max(own.start, other.start))
            text = f"ties with {other.revision.name} from {since}: same purposes, same origin, both in force"
            yield Violation("policy.purposes", "AMBIGUOUS", text, other.revision.name)


def _find_foreign(region: str, jurisdiction: str, field: str) -> list[Violation]:
    # The nation's node may publish for every region.
    if jurisdiction == NATION or within(region, jurisdiction):
        return []
    text = f"this node publishes for {jurisdiction} and below, not for {region}"
    return [Violation(field, "NOT_PERMITTED", text, f"jurisdictions/{region}")]


def _not_permitted(region: str, violations: Sequence[Violation]) -> PermissionDenied:
    text = next(violation.description for violation in violations if violation.reason == "NOT_PERMITTED")
    return PermissionDenied(
        "NOT_PERMITTED", text, violations=violations, metadata={"resource": f"jurisdictions/{region}"}
    )


def _find_retroactive(publication: Publication) -> list[Violation]:
    revision = publication.revision
    if revision.start >= publication.now - RETROACTIVE_TOLERANCE or revision.retroactive_reason:
        return []
    text = "the policy begins in the past; say why"
    return [Violation("retroactive_reason", "RETROACTIVE", text, revision.name)]


def _refusal(
    what: str, breaches: Sequence[Violation], ties: Sequence[Violation], violations: Sequence[Violation]
) -> HutongError:
    if breaches:
        reason, metadata = "POLICY_BREACH", {"breaches": str(len(breaches))}
    elif ties:
        reason, metadata = "AMBIGUOUS", {"other": ties[0].subject}
    else:
        reason, metadata = "RETROACTIVE", {"field": "retroactive_reason"}
    text = "; ".join(violation.description for violation in violations)
    return FailedPrecondition(reason, f"{what}: {text}", violations=violations, metadata=metadata)


def _cite(floor: Revision) -> str:
    """Return the name of a floor's revision, with its document if that is known."""
    document = floor.source.document_number or floor.source.title
    return f"{floor.name} ({document})" if document else floor.name


def _ends_too_soon(revision: Revision) -> bool:
    return revision.end is not None and revision.end <= revision.start


def _is_day(text: str) -> bool:
    """Return whether a text is empty or a day of the calendar."""
    try:
        return not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _contradicts(floor: Revision, lower: Revision) -> bool:
    """Whether a lower policy counts from another instant than the floor says, for somebody whom both speak of."""
    return (
        lower.requirement.is_test
        and floor.requirement.basis != lower.requirement.basis
        and _share(floor.purposes, lower.purposes)
        and _share_origin(floor.origin, lower.origin)
    )


def _ties(one: Revision, other: Revision) -> bool:
    """Return whether two policies of one jurisdiction cover a question in common and neither is more specific."""
    return (
        bool(one.purposes) == bool(other.purposes)
        and _share(one.purposes, other.purposes)
        and one.origin == other.origin
    )


def _share(one: Sequence[int], other: Sequence[int]) -> bool:
    return not one or not other or not set(one).isdisjoint(other)


def _share_origin(one: int, other: int) -> bool:
    return ANY in (one, other) or one == other


def _overlap(one: Segment, other: Segment) -> bool:
    return (one.end is None or other.start < one.end) and (other.end is None or one.start < other.end)
