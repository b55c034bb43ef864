"""ResolvePolicy's answers as messages, each made once for as long as its book is the newest."""

from __future__ import annotations

from hutong.policy.v1.policy_pb2 import EffectivePolicy
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest

from services.domain.errors import InvalidArgument
from services.domain.instant import from_timestamp, to_timestamp
from services.domain.region import is_region
from services.policy.convert import answer_to_proto
from services.policy.model import Answer
from services.policy.resolve import PolicyBook
from services.policy.shelf import Shelf
from services.runtime.clock import Clock


class Answers:
    """Answers questions from the shelf."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._book: PolicyBook | None = None
        # By identity: a book keeps each of its answers for as long as it lives, and this memory holds the book.
        self._told: dict[int, EffectivePolicy] = {}

    def resolve(self, request: ResolvePolicyRequest) -> EffectivePolicy:
        """What applies. InvalidArgument REGION_UNKNOWN for a region that is none."""
        for field, region in (("region", request.region), ("arriving_from", request.arriving_from)):
            if region and not is_region(region):
                raise InvalidArgument.field(field, "is not a region of GB/T 2260", "REGION_UNKNOWN")
        at = from_timestamp(request.at_time) if request.HasField("at_time") else self._clock.now()
        if request.HasField("known_time"):
            book = self._shelf.book_known_at(from_timestamp(request.known_time))
            told = answer_to_proto(book.resolve(request.region, request.purpose, request.arriving_from, at))
        else:
            answer = self._shelf.book.resolve(request.region, request.purpose, request.arriving_from, at)
            told = self._tell(answer)
        told.as_of_time.CopyFrom(to_timestamp(self._shelf.as_of))
        return told

    def _tell(self, answer: Answer) -> EffectivePolicy:
        """The answer's message; the same one again and again, of which only as_of_time changes."""
        if self._book is not self._shelf.book:
            self._book = self._shelf.book
            self._told.clear()
        told = self._told.get(id(answer))
        if told is None:
            told = self._told[id(answer)] = answer_to_proto(answer)
        return told
