"""Guards. They check whether a policy may be published or withdrawn, and report all faults at once. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from hutong_texts import Text, english, join

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument, PermissionDenied, Violation
from services.domain.instant import HOUR, MINUTE, Instant, Span, format_instant
from services.domain.names import describe_item, format_node
from services.domain.region import NATION, ancestry, within
from services.policy.model import FloorOverride, Revision, ShortestWindow
from services.policy.rules.faults import ASKED, ends_too_soon, find_faults
from services.policy.rules.floors import BASIS, CHANNELS, LIFT, find_replaced, share_purposes, share_subjects
from services.policy.rules.merging import is_floor_of_outside
from services.policy.rules.resolve import PolicyBook, Segment, are_on_one_way, series_segments

RETROACTIVE_TOLERANCE: Span = 5 * MINUTE
"""How far in the past a policy may begin without a stated reason. A caller that begins a policy "now" needs some time
to send it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A revision to be published, with the publishing node's jurisdiction, the time, and the regions of nodes below."""

    revision: Revision
    jurisdiction: str
    now: Instant
    nodes_below: Collection[str] = ()


def check_publication(publication: Publication, book: PolicyBook, broken_rules: Sequence[Violation] = ()) -> None:
    """Check that a revision may be published.

    Args:
        publication: the revision.
        book: the policies that are published already.
        broken_rules: rules of the contract that the policy breaks.

    Raises:
        InvalidArgument: the policy has faults that do not depend on other policies.
        PermissionDenied: NOT_PERMITTED, a node publishes only for its own jurisdiction and those below.
        FailedPrecondition: ANOTHER_NODE_PUBLISHES, POLICY_BREACH, AMBIGUOUS or RETROACTIVE.
            The first of these that applies is raised. The violations of the error list all faults of every kind.
    """
    revision = publication.revision
    faults = [*broken_rules, *_beyond(broken_rules, find_faults(revision))]
    foreign = _find_foreign(revision.region, publication.jurisdiction, "policy.name")
    members = book.series(*revision.series)
    elsewhere = _find_elsewhere(revision, members, publication.jurisdiction, publication.nodes_below, "policy.name")
    # An end before the start is a fault. The other faults are found as if the policy had no end.
    lived = replace(revision, end=None) if ends_too_soon(revision) else revision
    segments = new_segments(lived, book)
    breaches = list(_find_floor_breaches(lived, book))
    ties = list(_find_ties(lived, segments, book))
    violations = [*faults, *foreign, *elsewhere, *breaches, *ties, *_find_retroactive(publication)]
    if faults:
        raise InvalidArgument.of(violations)
    if foreign:
        raise _not_permitted(revision.region, violations)
    if elsewhere:
        raise _published_elsewhere(elsewhere, violations)
    if violations:
        raise _refusal(english("the policy may not be published"), breaches, ties, violations)


def _beyond(reported: Sequence[Violation], faults: Sequence[Violation]) -> list[Violation]:
    """Return those faults whose field has no reported fault yet."""
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


def check_publisher(revision: Revision, jurisdiction: str, nodes_below: Collection[str]) -> None:
    """Check that this node may withdraw a revision.

    Raises:
        FailedPrecondition: ANOTHER_NODE_PUBLISHES, only another node may withdraw the revision.
    """
    elsewhere = _find_elsewhere(revision, [revision], jurisdiction, nodes_below, "name")
    if elsewhere:
        raise _published_elsewhere(elsewhere, elsewhere)


def check_withdrawal(revision: Revision, book: PolicyBook) -> None:
    """Check that a revision may be withdrawn.

    A withdrawal may bring an older revision back into force. The withdrawal is refused if the older revision then ties
    with another policy.

    Raises:
        FailedPrecondition: AMBIGUOUS, with each tie. Either the older revision or the other policy must be withdrawn
            first.
    """
    others = [other for other in book.series(*revision.series) if other is not revision]
    ties = [
        tie
        for segment in series_segments(others)
        for tie in _find_ties(segment.revision, [segment], book)
        if segment not in book.segments(revision.region)
    ]
    if ties:
        raise _refusal(english("the revision may not be withdrawn"), (), ties, ties)


def new_segments(revision: Revision, book: PolicyBook) -> list[Segment]:
    """Return when a new revision would be in force, given the other revisions of its series."""
    others = book.series(*revision.series)
    return [segment for segment in series_segments([*others, revision]) if segment.revision is revision]


def find_overridden(revision: Revision, book: PolicyBook) -> list[FloorOverride]:
    """Return what a new floor overrides in published policies, or what published floors override in a new policy.

    Each override has the instant from which it applies.
    """
    found: list[FloorOverride] = []
    for own in new_segments(revision, book):
        for other in _segments_that_meet(revision, book):
            floor, lower = (own, other) if revision.floor else (other, own)
            if floor.revision.floor and not lower.revision.floor and own.overlaps(other):
                found += _find_replaced_from(floor.revision, lower.revision, max(own.start, other.start))
    if revision.floor:
        return found
    earliest: dict[tuple[str, str, str], FloorOverride] = {}
    for override in sorted(found, key=lambda override: override.start or 0):
        earliest.setdefault((override.field, override.item, override.floor), override)
    return list(earliest.values())


def _segments_that_meet(revision: Revision, book: PolicyBook) -> Iterator[Segment]:
    """Yield the segments of other series in the same region, above it and below it.

    Segments above the region matter too, because a floor of a province also binds the nation's policies there.
    """
    for region in sorted(book.regions):
        if are_on_one_way(region, revision.region):
            yield from (one for one in book.segments(region) if one.revision.series != revision.series)


def _find_replaced_from(floor: Revision, lower: Revision, start: Instant) -> Iterator[FloorOverride]:
    """Yield what a floor replaces in a policy. `start` is the instant from which both are in force."""
    if share_subjects(floor, lower):
        for override in find_replaced(floor, lower):
            yield replace(override, start=start)


def _find_floor_breaches(revision: Revision, book: PolicyBook) -> Iterator[Violation]:
    """Yield a breach for everything that the floors in force at the revision's start would replace, except channels.

    Channels are no breach, because a policy's channels and a floor's channels are united.
    """
    for place in ancestry(revision.region):
        for segment in book.segments(place):
            floor = segment.revision
            if not floor.floor or floor.series == revision.series or not segment.holds(revision.start):
                continue
            since = format_instant(segment.start)
            for override in _find_replaced_from(floor, revision, revision.start):
                if override.field != CHANNELS:
                    text = english(
                        "undercuts {floor}: {override}, since {since}",
                        floor=_cite(floor),
                        override=_what_floor_says(override),
                        since=since,
                    )
                    yield Violation(_breached_field(override, revision), "POLICY_BREACH", text, floor.name)


def _breached_field(override: FloorOverride, revision: Revision) -> str:
    """Return the path of the field that a floor would replace.

    For the window of an accepted item, the path has the item's index.
    """
    if not override.item:
        return f"policy.{override.field}"
    items = [describe_item(one.item) for one in revision.requirement.accepted]
    return f"policy.{override.field}".replace(ASKED, f"{ASKED}.accepted[{items.index(override.item)}]", 1)


def _what_floor_says(override: FloorOverride) -> Text:
    if override.field == LIFT:
        return english("no result may be asked for")
    item = english(" of {item}", item=override.item) if override.item else ""
    if override.field == BASIS:
        return english("validity{item} counts from the report's issue", item=item)
    assert isinstance(override.applied, ShortestWindow)
    return english("a result{item} counts for at least {length}", item=item, length=_length(override.applied))


def _length(shortest: ShortestWindow) -> Text:
    if shortest.duration is None:
        return english("{calendar_days} calendar days", calendar_days=shortest.calendar_days)
    hours = shortest.duration / HOUR
    if shortest.includes_boundary:
        return english("{hours:.10g} hours, the last instant included", hours=hours)
    return english("{hours:.10g} hours", hours=hours)


def _find_ties(revision: Revision, segments: Sequence[Segment], book: PolicyBook) -> Iterator[Violation]:
    if revision.floor:
        return
    for other in book.segments(revision.region):
        if other.revision.floor or other.revision.series == revision.series or not _ties(revision, other.revision):
            continue
        own = next((segment for segment in segments if segment.overlaps(other)), None)
        if own is not None:
            since = format_instant(max(own.start, other.start))
            text = english(
                "ties with {name} from {since}: same purposes, same origin, both in force",
                name=other.revision.name,
                since=since,
            )
            yield Violation("policy.purposes", "AMBIGUOUS", text, other.revision.name)


def _find_foreign(region: str, jurisdiction: str, field: str) -> list[Violation]:
    # The nation's node may publish for every region.
    if jurisdiction == NATION or within(region, jurisdiction):
        return []
    text = english(
        "this node publishes for {jurisdiction} and below, not for {region}", jurisdiction=jurisdiction, region=region
    )
    return [Violation(field, "NOT_PERMITTED", text, f"jurisdictions/{region}")]


def find_publisher(
    revision: Revision, members: Sequence[Revision], jurisdiction: str, nodes_below: Collection[str]
) -> str | None:
    """Return the region of the other node that alone may publish or withdraw a revision; None if this node may.

    `members` are the known revisions of its series. The deepest node that covers a region publishes there. A floor may
    come from any node that covers the region, but all revisions of one series come from one node.
    """
    above = next((one.node for one in members if is_floor_of_outside(one, jurisdiction)), None)
    if above is not None:
        return above
    below = next((place for place in ancestry(revision.region) if place in nodes_below), None)
    is_own_floor = revision.floor and all(one.floor and one.node == jurisdiction for one in members)
    return None if is_own_floor else below


def _find_elsewhere(
    revision: Revision, members: Sequence[Revision], jurisdiction: str, nodes_below: Collection[str], field: str
) -> list[Violation]:
    node = find_publisher(revision, members, jurisdiction, nodes_below)
    if node is None:
        return []
    name = format_node(node)
    text = english("{node} publishes this policy; publish and withdraw it there", node=name)
    return [Violation(field, "ANOTHER_NODE_PUBLISHES", text, name)]


def _published_elsewhere(elsewhere: Sequence[Violation], violations: Sequence[Violation]) -> FailedPrecondition:
    (violation,) = elsewhere
    metadata = {"node": violation.subject}
    return FailedPrecondition("ANOTHER_NODE_PUBLISHES", violation.description, violations=violations, metadata=metadata)


def _not_permitted(region: str, violations: Sequence[Violation]) -> PermissionDenied:
    text = next(violation.description for violation in violations if violation.reason == "NOT_PERMITTED")
    return PermissionDenied(
        "NOT_PERMITTED", text, violations=violations, metadata={"resource": f"jurisdictions/{region}"}
    )


def _find_retroactive(publication: Publication) -> list[Violation]:
    revision = publication.revision
    if revision.start >= publication.now - RETROACTIVE_TOLERANCE or revision.retroactive_reason:
        return []
    text = english("the policy begins in the past; say why")
    return [Violation("retroactive_reason", "RETROACTIVE", text, revision.name)]


def _refusal(
    what: Text, breaches: Sequence[Violation], ties: Sequence[Violation], violations: Sequence[Violation]
) -> HutongError:
    if breaches:
        reason, metadata = "POLICY_BREACH", {"breaches": str(len(breaches))}
    elif ties:
        reason, metadata = "AMBIGUOUS", {"other": ties[0].subject}
    else:
        reason, metadata = "RETROACTIVE", {"field": "retroactive_reason"}
    text = join(violation.description for violation in violations)
    message = english("{what}: {text}", what=what, text=text)
    return FailedPrecondition(reason, message, violations=violations, metadata=metadata)


def _cite(floor: Revision) -> str:
    """Return the name of a floor's revision, followed by the number or the title of its document, if it has one."""
    document = floor.source.document_number or floor.source.title
    return f"{floor.name} ({document})" if document else floor.name


def _ties(one: Revision, other: Revision) -> bool:
    """Return whether two policies of one jurisdiction cover a common question and are equally specific."""
    return (
        bool(one.purposes) == bool(other.purposes)
        and share_purposes(one.purposes, other.purposes)
        and one.origin == other.origin
    )
