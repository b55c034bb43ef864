"""Policies and answers as values, independent of messages and tables. Instants and spans are microseconds.

The numbers of enumerations are the contract's, for example those of `hutong.policy.v1.ValidityBasis`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hutong.policy.v1 import policy_pb2

from services.domain.instant import Instant, Span
from services.domain.names import describe_item, format_policy

ANY = policy_pb2.TRAVELER_ORIGIN_ANY
SAME_PROVINCE = policy_pb2.TRAVELER_ORIGIN_SAME_PROVINCE
OTHER_PROVINCE = policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE

UNKNOWN_ORIGIN = policy_pb2.TRAVELER_ORIGIN_UNSPECIFIED
"""Stands for an origin that is not known. Either of the other two classes may then apply."""

SeriesKey = tuple[str, str]
"""The region and the policy id. All revisions of one policy share both."""


@dataclass(frozen=True, slots=True)
class Source:
    """The document on which a policy is based."""

    document_number: str = ""
    title: str = ""
    url: str = ""
    issue_date: str = ""


@dataclass(frozen=True, slots=True)
class ShortestWindow:
    """The shortest time for which a floor lets every result count. Exactly one of duration and calendar_days is set."""

    duration: Span | None = None
    calendar_days: int | None = None
    includes_boundary: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """How long a negative result counts, from its basis on. Exactly one of duration and calendar_days is set.

    In a floor neither is set, and the basis is 0 if the floor states none.
    """

    basis: int = 0
    duration: Span | None = None
    calendar_days: int | None = None
    includes_boundary: bool = False

    @property
    def has_length(self) -> bool:
        """Whether the window has a length."""
        return self.duration is not None or self.calendar_days is not None


NO_WINDOW = Window()
"""A window that states neither a length nor a basis."""


@dataclass(frozen=True, slots=True)
class AcceptedItem:
    """A test item whose negative satisfies a policy: its id, and its window; None if the policy's window applies."""

    item: str
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a policy asks for: a negative result, or no result if `is_test` is False.

    A policy that asks for a result has a window. If a floor has `is_test` False, it lifts: no result may be asked for.
    A floor may set `shortest`, and lists no items.

    Attributes:
        window: how long a result counts, unless its item has a window of its own.
        accepted: the items whose negatives satisfy the policy. Empty means only the default item.
        adverse_items: the ids of the items whose positives stand against the person, the weightiest first. Empty means
            the accepted items in their order.
        adverse_window: how long after sampling a positive stands; None means until it is cleared.
    """

    window: Window = NO_WINDOW
    sampling_proof: Span | None = None
    refusal_permitted: bool = False
    shortest: ShortestWindow | None = None
    accepted: tuple[AcceptedItem, ...] = ()
    adverse_items: tuple[str, ...] = ()
    adverse_window: Span | None = None
    is_test: bool = True

    @property
    def uses_own_window(self) -> bool:
        """Whether the policy's window applies to any item.

        It does not if every accepted item has a window of its own.
        """
        return not self.accepted or any(one.window is None for one in self.accepted)

    def windows(self) -> Iterator[tuple[str, Window]]:
        """Yield every window that applies, with the name of its item. The name is empty for the policy's window."""
        if self.uses_own_window:
            yield "", self.window
        for one in self.accepted:
            if one.window is not None:
                yield describe_item(one.item), one.window


NOT_REQUIRED = Requirement(is_test=False)
"""The requirement of a policy that asks for no result."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a policy as it was published.

    Empty purposes mean all purposes, and empty channels all channels.
    """

    region: str
    policy_id: str
    revision: int
    title: str
    source: Source
    purposes: tuple[int, ...]
    origin: int
    requirement: Requirement
    channels: tuple[int, ...]
    forbidden_grounds: tuple[int, ...]
    advice: tuple[str, ...]
    floor: bool
    start: Instant
    end: Instant | None
    publish_time: Instant
    retroactive_reason: str = ""
    withdraw_time: Instant | None = None
    withdraw_reason: str = ""
    content_hash: str = ""
    actor: str | None = None
    """The name of the caller that published the revision at this node; None if it is not known."""
    withdraw_actor: str | None = None
    """The name of the caller that withdrew the revision at this node; None if it is not known."""
    node: str | None = None
    """The region of the node that published the revision; None if it is not known."""

    @property
    def series(self) -> SeriesKey:
        """The series that the revision belongs to."""
        return self.region, self.policy_id

    @property
    def name(self) -> str:
        """The resource name: jurisdictions/{region}/policies/{policy_id}@{revision}."""
        return format_policy(self.region, self.policy_id, self.revision)

    def covers(self, purpose: int, origin: int) -> bool:
        """Return whether the revision applies to a purpose and an origin.

        The origin is SAME_PROVINCE or OTHER_PROVINCE.
        """
        return (not self.purposes or purpose in self.purposes) and self.origin in (ANY, origin)

    def known_at(self, instant: Instant | None) -> bool:
        """Return whether the revision was published and not withdrawn at an instant.

        None stands for now: the revision counts unless it is withdrawn. No clock is read.
        """
        if instant is None:
            return self.withdraw_time is None
        return self.publish_time <= instant and (self.withdraw_time is None or self.withdraw_time > instant)


@dataclass(frozen=True, slots=True)
class FloorOverride:
    """What a floor has replaced in a lower policy.

    Attributes:
        field: the field that was replaced: BASIS, WINDOW, LIFT or CHANNELS of `rules.floors`.
        stated: what the policy states: its requirement, a window, a basis, or its channels.
        applied: what applies instead because of the floor: a requirement, a shortest window, a basis, or channels.
        floor: the name of the floor's revision.
        policy: the name of the policy's revision.
        item: the name of the accepted item whose window is replaced; empty for the policy's window, LIFT and CHANNELS.
        start: the instant from which the floor replaces the field, or no longer replaces it; set only in answers to
            publications and withdrawals.
    """

    field: str
    stated: Requirement | Window | tuple[int, ...]
    applied: Requirement | ShortestWindow | tuple[int, ...]
    floor: str
    policy: str
    item: str = ""
    start: Instant | None = None


@dataclass(frozen=True, slots=True)
class FloorWindow:
    """A shortest window that binds, and the name of the floor's revision that sets the window."""

    shortest: ShortestWindow
    floor: str


@dataclass(frozen=True, slots=True)
class Effective:
    """What applies to one kind of question. `requirement` is None if no policy is in force and no floor lifts.

    `lifting_floor` is the name of the floor that lifts, so that no result is asked for; empty if there is none.
    """

    requirement: Requirement | None
    channels: tuple[int, ...]
    forbidden_grounds: tuple[int, ...]
    advice: tuple[str, ...]
    governing: str
    floors: tuple[str, ...]
    overrides: tuple[FloorOverride, ...]
    governing_source: Source = Source()
    floor_source: Source = Source()
    shortest_windows: tuple[FloorWindow, ...] = ()
    lifting_floor: str = ""
    lifting_source: Source = Source()


@dataclass(frozen=True, slots=True)
class Answer:
    """What applies, and the interval [start, end) in which it does not change as time passes.

    No wider interval has this property. A start or end of None means that there is no bound (docs/policy.md §5).
    """

    effective: Effective
    start: Instant | None
    end: Instant | None


@dataclass(frozen=True, slots=True)
class AnswerByOrigin:
    """Both answers for a person of unknown origin. They differ for the two origins.

    `forbidden_grounds` are the grounds that at least one of the answers forbids. Both answers hold in [start, end), the
    intersection of their intervals.
    """

    same_province: Answer
    other_province: Answer
    forbidden_grounds: tuple[int, ...]
    start: Instant | None
    end: Instant | None
