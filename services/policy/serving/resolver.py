"""ResolvePolicy's answers as messages, each made once for as long as it stands."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest, ResolvePolicyResponse

from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import SECOND, Instant, from_timestamp
from services.domain.region import is_region
from services.policy.convert import answer_to_proto
from services.policy.model import Answer
from services.policy.rules.resolve import PolicyBook
from services.policy.serving.book_cache import Shelf
from services.runtime.clock import Clock


class Answers:
    """Answers questions from the shelf."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._book: PolicyBook | None = None
        # By identity: a book keeps each of its answers for as long as it lives, and this memory holds the book.
        self._told: dict[int, ResolvePolicyResponse] = {}

    def resolve(self, request: ResolvePolicyRequest) -> ResolvePolicyResponse:
        """What applies. InvalidArgument REGION_UNKNOWN for a region that is none."""
        region, arriving_from = request.region, request.arriving_from
        if not is_region(region) or (arriving_from and not is_region(arriving_from)):
            raise _unknown_regions(request)
        at = from_timestamp(request.at_time) if request.HasField("at_time") else self._clock.now()
        if request.HasField("known_time"):
            book = self._shelf.book.known_at(from_timestamp(request.known_time), region)
            told = _response(book.resolve(region, request.purpose, arriving_from, at))
        else:
            told = self._tell(self._shelf.book.resolve(region, request.purpose, arriving_from, at))
        _stamp(told.effective_policy.as_of_time, self._shelf.as_of)
        if self._shelf.nation_as_of is not None:
            _stamp(told.effective_policy.nation_as_of_time, self._shelf.nation_as_of)
        return told

    def _tell(self, answer: Answer) -> ResolvePolicyResponse:
        """The answer's message; the same one again and again, of which only as_of_time changes.

        It may be sent after another call has moved as_of_time on: rightly, since the book is still the same.
        """
        if self._book is not self._shelf.book:
            self._book = self._shelf.book
            self._told.clear()
        told = self._told.get(id(answer))
        if told is None:
            told = self._told[id(answer)] = _response(answer)
        return told


def _stamp(timestamp: Timestamp, instant: Instant) -> None:
    """Both parts, since the message is one that was told before."""
    timestamp.seconds, rest = divmod(instant, SECOND)
    timestamp.nanos = rest * 1000


def _response(answer: Answer) -> ResolvePolicyResponse:
    return ResolvePolicyResponse(effective_policy=answer_to_proto(answer))


def _unknown_regions(request: ResolvePolicyRequest) -> InvalidArgument:
    fields = (("region", request.region), ("arriving_from", request.arriving_from))
    text = "is not a region of GB/T 2260"
    return InvalidArgument.of(
        [Violation(field, "REGION_UNKNOWN", text) for field, code in fields if code and not is_region(code)]
    )
