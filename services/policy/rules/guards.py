"""Whether a policy may be published: every guard, all breaches at once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument, PermissionDenied, Violation
from services.domain.instant import HOUR, MINUTE, Instant, Span, format_instant
from services.domain.region import NATION, ancestry, is_region, within
from services.policy.model import FloorOverride, Requirement, Revision, ShortestWindow
from services.policy.rules.floors import (
    BASIS,
    CHANNELS,
    LIFT,
    REPORT_TIME,
    find_replaced,
    share_purposes,
    share_subjects,
)
from services.policy.rules.resolve import PolicyBook, Segment, are_on_one_way, series_segments

RETROACTIVE_TOLERANCE: Span = 5 * MINUTE
"""How far in the past a policy may begin without saying why: the time between writing "now" and sending it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A revision about to be published: by which node, when."""

    revision: Revision
    jurisdiction: str
    now: Instant


def find_faults(revision: Revision) -> list[Violation]:
    """What is wrong with a policy by itself."""
    faults = []
    requirement = revision.requirement
    if not is_region(revision.region):
        faults.append(Violation("policy.name", "REGION_UNKNOWN", "the region is not one of GB/T 2260"))
    if _ends_too_soon(revision):
        faults.append(Violation("policy.effective_end_time", "INVALID_FIELD", "must be after effective_start_time"))
    if not _is_day(revision.source.issue_date):
        faults.append(Violation("policy.source.issue_date", "INVALID_FIELD", "is not a day of the calendar"))
    for length, field in (
        (requirement.duration, "window.duration"),
        (requirement.sampling_proof, "sampling_proof_window"),
        (requirement.shortest and requirement.shortest.duration, "shortest_window.duration"),
    ):
        if length == 0:
            text = "must be at least a microsecond"
            faults.append(Violation(f"policy.test_required.{field}", "INVALID_FIELD", text))
    if requirement.is_test:
        faults += _find_window_faults(requirement, floor=revision.floor)
    return faults


def _find_window_faults(requirement: Requirement, *, floor: bool) -> Iterator[Violation]:
    """What a floor may not say of a result, and what a policy that is no floor may not leave open or say."""
    asked = "policy.test_required"
    has_length = requirement.duration is not None or requirement.calendar_days is not None
    if floor and has_length:
        text = "a floor has no length: the hours are each place's own; how long at least is its shortest_window"
        yield Violation(f"{asked}.window.length", "INVALID_FIELD", text)
    if floor and requirement.basis not in (0, REPORT_TIME):
        text = "a floor counts from the report or leaves the basis open: another basis could shorten what places give"
        yield Violation(f"{asked}.window.basis", "INVALID_FIELD", text)
    if not floor and not has_length:
        text = "needs a duration or calendar_days; only a floor has none"
        yield Violation(f"{asked}.window.length", "INVALID_FIELD", text)
    if not floor and requirement.shortest is not None:
        text = "only a floor has one: how long a result counts here is said by the window"
        yield Violation(f"{asked}.shortest_window", "INVALID_FIELD", text)


def check_publication(publication: Publication, book: PolicyBook, broken_rules: Sequence[Violation] = ()) -> None:
    """Refuse a publication that may not be, with everything that speaks against it.

    Args:
        publication: the revision, by whom and when.
        book: what stands already.
        broken_rules: rules of the contract that the policy breaks.

    Raises:
        InvalidArgument: the policy by itself is at fault.
        PermissionDenied: NOT_PERMITTED, a node publishes for its own jurisdiction and below alone.
        FailedPrecondition: POLICY_BREACH, AMBIGUOUS or RETROACTIVE.
            The first of all these that applies is the error, and its violations hold the others too.
    """
    revision = publication.revision
    faults = [*broken_rules, *_beyond(broken_rules, find_faults(revision))]
    foreign = _find_foreign(revision.region, publication.jurisdiction, "policy.name")
    # An end before its start is a fault; what else is wrong is told as if there were none.
    lived = replace(revision, end=None) if _ends_too_soon(revision) else revision
    segments = new_segments(lived, book)
    breaches = list(_find_floor_breaches(lived, book))
    ties = list(_find_ties(lived, segments, book))
    violations = [*faults, *foreign, *breaches, *ties, *_find_retroactive(publication)]
    if faults:
        raise InvalidArgument.of(violations)
    if foreign:
        raise _not_permitted(revision.region, violations)
    if violations:
        raise _refusal("the policy may not be published", breaches, ties, violations)


def _beyond(told: Sequence[Violation], faults: Sequence[Violation]) -> list[Violation]:
    """The faults of fields of which nothing was told yet."""
    fields = {violation.field for violation in told}
    return [fault for fault in faults if fault.field not in fields]


def check_jurisdiction(region: str, jurisdiction: str) -> None:
    """Refuse a change of a jurisdiction's policies that is not this node's to make.

    Raises:
        PermissionDenied: NOT_PERMITTED, a node publishes and withdraws for its own jurisdiction and below alone.
    """
    foreign = _find_foreign(region, jurisdiction, "name")
    if foreign:
        raise _not_permitted(region, foreign)


def check_withdrawal(revision: Revision, book: PolicyBook) -> None:
    """Refuse a withdrawal that brings an older revision back into a tie with another policy.

    Raises:
        FailedPrecondition: AMBIGUOUS, with each tie; withdraw the older revision or the other policy first.
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
    """When the new revision would be in force, beside the others of its series."""
    others = book.series(*revision.series)
    return [segment for segment in series_segments([*others, revision]) if segment.revision is revision]


def find_overridden(revision: Revision, book: PolicyBook) -> list[FloorOverride]:
    """What a new floor overrides in policies that stand already, or standing floors in a new policy; from when."""
    found: list[FloorOverride] = []
    for own in new_segments(revision, book):
        for other in _segments_that_meet(revision, book):
            floor, lower = (own, other) if revision.floor else (other, own)
            if floor.revision.floor and not lower.revision.floor and own.overlaps(other):
                found += _find_replaced_from(floor.revision, lower.revision, max(own.start, other.start))
    if revision.floor:
        return found
    earliest: dict[tuple[str, str], FloorOverride] = {}
    for override in sorted(found, key=lambda override: override.start or 0):
        earliest.setdefault((override.field, override.floor), override)
    return list(earliest.values())


def _segments_that_meet(revision: Revision, book: PolicyBook) -> Iterator[Segment]:
    """What stands above and below, of other series: a floor of a province binds the nation's policies there too."""
    for region in sorted(book.regions):
        if are_on_one_way(region, revision.region):
            yield from (one for one in book.segments(region) if one.revision.series != revision.series)


def _find_replaced_from(floor: Revision, lower: Revision, start: Instant) -> Iterator[FloorOverride]:
    """What a floor replaces in a policy that is in force beside it from `start` on."""
    if share_subjects(floor, lower):
        for override in find_replaced(floor, lower):
            yield replace(override, start=start)


def _find_floor_breaches(revision: Revision, book: PolicyBook) -> Iterator[Violation]:
    """What a floor in force at the revision's own start would replace. Channels are united and never a breach."""
    for place in ancestry(revision.region):
        for segment in book.segments(place):
            floor = segment.revision
            if not floor.floor or floor.series == revision.series or not segment.holds(revision.start):
                continue
            since = format_instant(segment.start)
            for override in _find_replaced_from(floor, revision, revision.start):
                if override.field != CHANNELS:
                    text = f"undercuts {_cite(floor)}: {_what_floor_says(override)}, since {since}"
                    yield Violation(f"policy.{override.field}", "POLICY_BREACH", text, floor.name)


def _what_floor_says(override: FloorOverride) -> str:
    if override.field == LIFT:
        return "no result may be asked for"
    if override.field == BASIS:
        return "validity counts from the report's issue"
    assert isinstance(override.applied, ShortestWindow)
    return f"a result counts for at least {_length(override.applied)}"


def _length(shortest: ShortestWindow) -> str:
    if shortest.duration is None:
        return f"{shortest.calendar_days} calendar days"
    hours = f"{shortest.duration / HOUR:.10g} hours"
    return f"{hours}, the last instant included" if shortest.includes_boundary else hours


def _find_ties(revision: Revision, segments: Sequence[Segment], book: PolicyBook) -> Iterator[Violation]:
    if revision.floor:
        return
    for other in book.segments(revision.region):
        if other.revision.floor or other.revision.series == revision.series or not _ties(revision, other.revision):
            continue
        own = next((segment for segment in segments if segment.overlaps(other)), None)
        if own is not None:
            since = format_instant(max(own.start, other.start))
            text = f"ties with {other.revision.name} from {since}: same purposes, same origin, both in force"
            yield Violation("policy.purposes", "AMBIGUOUS", text, other.revision.name)


def _find_foreign(region: str, jurisdiction: str, field: str) -> list[Violation]:
    # The nation's node may keep the rules of all.
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
    """A floor by its revision, and by the document whose rule it is where that is known."""
    document = floor.source.document_number or floor.source.title
    return f"{floor.name} ({document})" if document else floor.name


def _ends_too_soon(revision: Revision) -> bool:
    return revision.end is not None and revision.end <= revision.start


def _is_day(text: str) -> bool:
    """Whether a text is a day of the calendar, or none."""
    try:
        return not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _ties(one: Revision, other: Revision) -> bool:
    """Whether neither of two policies of one jurisdiction is the more specific, for somebody whom both speak of."""
    return (
        bool(one.purposes) == bool(other.purposes)
        and share_purposes(one.purposes, other.purposes)
        and one.origin == other.origin
    )
