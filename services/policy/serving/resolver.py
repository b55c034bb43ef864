"""Answers ResolvePolicy from the cache. Each message is built once and reused until the book changes."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_pb2 import EffectivePolicy
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest, ResolvePolicyResponse

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_region
from services.domain.instant import SECOND, Instant, from_timestamp
from services.domain.region import ancestry, is_region
from services.policy.convert import answer_to_proto, by_origin_to_proto
from services.policy.model import UNKNOWN_ORIGIN, Answer, AnswerByOrigin
from services.policy.rules.resolve import PolicyBook, origin_class, unite_classes
from services.policy.serving.book_cache import PolicyBookCache
from services.runtime.clock import Clock


class PolicyResolver:
    """Answers questions from the cache."""

    def __init__(self, cache: PolicyBookCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._book: PolicyBook | None = None
        # The key has the ids of the answers, and the nodes below that cover the region. `_book` keeps all its answers
        # alive, so that ids stay unique.
        self._sent: dict[tuple[int, int, tuple[str, ...]], ResolvePolicyResponse] = {}

    def resolve(self, request: ResolvePolicyRequest) -> ResolvePolicyResponse:
        """Return what applies.

        Raises:
            InvalidArgument: REGION_UNKNOWN, a region does not exist.
            Unavailable: DATABASE_UNAVAILABLE, no policy was read yet.
        """
        region, arriving_from = request.region, request.arriving_from
        if not is_region(region) or (arriving_from and not is_region(arriving_from)):
            raise _unknown_regions(request)
        at = from_timestamp(request.effective_time) if request.HasField("effective_time") else self._clock.now()
        below = self._nodes_below(region)
        if request.HasField("as_of_time"):
            book = self._cache.book.known_at(from_timestamp(request.as_of_time), region)
            response = response_to_proto(book.resolve(region, request.purpose, arriving_from, at))
        else:
            response = self._resolve_now(region, request.purpose, arriving_from, at, below)
        for policy in _policies(response):
            _stamp(policy.as_of_time, self._cache.as_of)
            if self._cache.nation_as_of is not None:
                _stamp(policy.nation_as_of_time, self._cache.nation_as_of)
            if below:
                _stamp(policy.below_as_of_time, min(self._cache.nodes_below[node] for node in below))
        return response

    def _nodes_below(self, region: str) -> tuple[str, ...]:
        """Return the regions of the nodes below that cover a region."""
        known = self._cache.nodes_below
        return tuple(place for place in ancestry(region) if place in known) if known else ()

    def _resolve_now(
        self, region: str, purpose: int, arriving_from: str, at: Instant, below: tuple[str, ...]
    ) -> ResolvePolicyResponse:
        """Return the message of the current answer. Calls share the message. Only its as-of times change.

        A later call may change these times before this call's message is sent. That is correct, because the book is
        still the same.
        """
        if self._book is not self._cache.book:
            self._book = self._cache.book
            self._sent.clear()
        origin = origin_class(region, arriving_from)
        if origin == UNKNOWN_ORIGIN:
            answers = self._book.resolve_both(region, purpose, at)
            key = id(answers[0]), id(answers[1]), below
        else:
            answer = self._book.resolve_class(region, purpose, origin, at)
            key = id(answer), 0, below
        response = self._sent.get(key)
        if response is None:
            united = unite_classes(*answers) if origin == UNKNOWN_ORIGIN else answer
            response = self._sent[key] = response_to_proto(united)
        return response


def _stamp(timestamp: Timestamp, instant: Instant) -> None:
    """Set both fields. The message was used before, so neither may keep its old value."""
    timestamp.seconds, rest = divmod(instant, SECOND)
    timestamp.nanos = rest * 1000


def response_to_proto(answer: Answer | AnswerByOrigin) -> ResolvePolicyResponse:
    """Return the message of an answer. The caller adds as_of_time."""
    if isinstance(answer, AnswerByOrigin):
        return ResolvePolicyResponse(by_origin=by_origin_to_proto(answer))
    return ResolvePolicyResponse(effective_policy=answer_to_proto(answer))


def _policies(response: ResolvePolicyResponse) -> Sequence[EffectivePolicy]:
    """Return the one or two policies of an answer."""
    if response.HasField("by_origin"):
        return response.by_origin.same_province, response.by_origin.other_province
    return (response.effective_policy,)


def _unknown_regions(request: ResolvePolicyRequest) -> InvalidArgument:
    found: list[Violation] = []
    check_region(request.region, "region", found)
    if request.arriving_from:
        check_region(request.arriving_from, "arriving_from", found)
    return InvalidArgument.of(found)
