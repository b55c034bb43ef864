"""Read a region's effective policies over an interval, by purpose and origin, with each policy's start and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_pb2 import (
    TRAVELER_ORIGIN_ANY,
    TRAVELER_ORIGIN_OTHER_PROVINCE,
    TRAVELER_ORIGIN_SAME_PROVINCE,
    EffectivePolicy,
)
from hutong.policy.v1.policy_service_pb2 import BatchResolvePoliciesRequest, ResolvePolicyRequest
from hutong.type.v1.purpose_pb2 import Purpose

from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.errors import from_status

_ORIGINS: tuple[int, ...] = (TRAVELER_ORIGIN_SAME_PROVINCE, TRAVELER_ORIGIN_OTHER_PROVINCE)
PURPOSES = tuple(number for number in Purpose.values() if number)
_ELSEWHERE = ("110000", "310000")
"""Regions of two provinces. The region of the calendar lies outside at least one of these provinces."""


Kind = tuple[int, int]
"""A purpose and one of the two origins."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """An effective policy and its interval [start, end) in seconds since 1970. The calendar's interval contains it."""

    start: int
    end: int
    effective: EffectivePolicy


@dataclass(frozen=True, slots=True)
class Lane:
    """Purposes, and one origin or ANY for both origins, with the same effective policies over the whole interval."""

    purposes: tuple[int, ...]
    origin: int
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Calendar:
    """A region's effective policies during [start, end), in seconds since 1970.

    Attributes:
        as_of_time: the as-of time of the oldest answer.
    """

    region: str
    start: int
    end: int
    lanes: tuple[Lane, ...]
    as_of_time: Timestamp


def read_calendar(connection: Connection, region: str, purposes: Sequence[int], start: int, end: int) -> Calendar:
    """Read a calendar from `start` to `end`.

    Each kind of question is asked at `start`, and again whenever its last answer ceases to hold. One call asks about
    all kinds, so the kind whose answers change most often determines the number of calls.
    """
    kinds: list[Kind] = [(purpose, origin) for purpose in purposes for origin in _ORIGINS]
    found: dict[Kind, list[Stretch]] = {kind: [] for kind in kinds}
    open_kinds = dict.fromkeys(kinds, start)
    as_of = Timestamp()
    while open_kinds:
        questions = [_question(region, kind, at) for kind, at in open_kinds.items()]
        answers = connection.policies.BatchResolvePolicies(
            BatchResolvePoliciesRequest(requests=questions), timeout=CALL_SECONDS
        ).items
        remaining: dict[Kind, int] = {}
        for (kind, at), answer in zip(open_kinds.items(), answers, strict=True):
            if answer.WhichOneof("item") == "error":
                raise from_status(answer.error)
            # The nation's own region has no place in its own province, so the question about it has an unknown origin.
            by_origin = answer.WhichOneof("item") == "by_origin"
            effective = answer.by_origin.same_province if by_origin else answer.effective_policy
            if not as_of.seconds or effective.as_of_time.ToNanoseconds() < as_of.ToNanoseconds():
                as_of.CopyFrom(effective.as_of_time)
            until = _until(effective, end)
            found[kind].append(Stretch(at, until, _constant(effective)))
            if until < end:
                remaining[kind] = until
        open_kinds = remaining
    lanes = [Lane((purpose,), origin, tuple(found[purpose, origin])) for purpose, origin in kinds]
    return Calendar(region, start, end, tuple(_joined(lanes)), as_of)


def _until(effective: EffectivePolicy, end: int) -> int:
    """Return the end of an answer, rounded up to a second and at most `end`."""
    if not effective.HasField("end_time"):
        return end
    return min(effective.end_time.seconds + bool(effective.end_time.nanos), end)


def _question(region: str, kind: Kind, at: int) -> ResolvePolicyRequest:
    purpose, origin = kind
    elsewhere = next(place for place in _ELSEWHERE if place[:2] != region[:2])
    return ResolvePolicyRequest(
        region=region,
        purpose=Purpose.ValueType(purpose),
        arriving_from=elsewhere if origin == TRAVELER_ORIGIN_OTHER_PROVINCE else region,
        effective_time=Timestamp(seconds=at),
    )


def _constant(effective: EffectivePolicy) -> EffectivePolicy:
    """Return the answer without the fields that depend on the instants of the question and the call."""
    constant = EffectivePolicy()
    constant.CopyFrom(effective)
    constant.ClearField("start_time")
    constant.ClearField("end_time")
    constant.ClearField("as_of_time")
    return constant


def _joined(lanes: Sequence[Lane]) -> list[Lane]:
    """Merge lanes with the same answers: first the two origins of a purpose, then purposes, in their order."""
    by_purpose: list[Lane] = []
    for same, other in zip(lanes[::2], lanes[1::2], strict=True):
        if same.stretches == other.stretches:
            by_purpose.append(replace(same, origin=TRAVELER_ORIGIN_ANY))
        else:
            by_purpose += [same, other]
    joined: list[Lane] = []
    for lane in by_purpose:
        alike = next((it for it in joined if (it.origin, it.stretches) == (lane.origin, lane.stretches)), None)
        if alike is None:
            joined.append(lane)
        else:
            joined[joined.index(alike)] = replace(alike, purposes=alike.purposes + lane.purposes)
    return joined
