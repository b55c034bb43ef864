"""A province's calls to the nation about subjects whose results it takes in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import grpc
import structlog
from hutong.exchange.v1.exchange_service_pb2 import SubjectResults, SubscribeSubjectsRequest

from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.documents.model import DocumentLink
from services.results.exchange.convert import link_from_proto, replica_from_proto
from services.results.exchange.model import Replica
from services.results.timing import ResultsTiming
from services.runtime.call import outgoing_metadata, seconds_left
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import ReconnectingStub

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

MAX_SUBSCRIBED = 20
"""Persons in one call: 200 results of each mostly stay well under the largest message; otherwise it is halved."""
_SHARE = 0.8
"""Of the caller's time; the rest is for storing what came, and the answer's way home."""

_log = structlog.get_logger(__name__)


class SubscribedSubject(NamedTuple):
    """What the nation keeps of a person: all their keys, the asked one first, and what is to be stored."""

    subject_keys: list[bytes]
    replicas: list[Replica]
    links: list[DocumentLink]


class SubscriptionClient:
    """Subscribes to subjects at the nation. Calls that meet are made as one."""

    def __init__(
        self, line: ReconnectingStub[ExchangeServiceAsyncStub], jurisdiction: str, timing: ResultsTiming
    ) -> None:
        self._timing = timing
        self._line = line
        self._node = format_node(jurisdiction)
        self._coalescer: Coalescer[bytes, SubscribedSubject] = Coalescer(self.subscribe_each, max_batch=MAX_SUBSCRIBED)

    async def subscribe(self, subject_key: bytes) -> SubscribedSubject:
        """Subscribe to a subject: all that the nation keeps of it now. UPSTREAM_UNAVAILABLE."""
        try:
            async with asyncio.timeout(seconds_left(self._timing.subscribe / _SHARE) * _SHARE):
                return await self._coalescer.ask(subject_key)
        except TimeoutError:
            raise _away() from None

    async def subscribe_each(self, subject_keys: Sequence[bytes]) -> list[SubscribedSubject]:
        """The same for up to MAX_SUBSCRIBED persons, in order, outside of any call."""
        request = SubscribeSubjectsRequest(node=self._node, subject_keys=subject_keys)
        stub = self._line.stub
        try:
            response = await stub.SubscribeSubjects(
                request, timeout=self._timing.subscribe, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT and len(subject_keys) > 1:
                # It has more to tell than a message holds, or finds fault with one of them.
                half = len(subject_keys) // 2
                return [
                    *await self.subscribe_each(subject_keys[:half]),
                    *await self.subscribe_each(subject_keys[half:]),
                ]
            _log.warning("the nation does not answer", code=error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self._line.renew(stub)
            raise _away() from None
        links = [link_from_proto(link) for link in response.links]
        return [_subscribed(subject, links) for subject in response.subjects]


def _subscribed(subject: SubjectResults, links: Sequence[DocumentLink]) -> SubscribedSubject:
    keys = list(subject.subject_keys)
    theirs = [link for link in links if {link.document.subject_key, link.linked_document.subject_key} & set(keys)]
    return SubscribedSubject(keys, [replica_from_proto(result) for result in subject.results], theirs)


def _away() -> Unavailable:
    return Unavailable(
        "UPSTREAM_UNAVAILABLE", "the national node does not answer; try again", metadata={"node": format_node(NATION)}
    )
