"""A province's calls to the nation about persons whose results it takes in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import grpc
import structlog
from hutong.results.v1.exchange_service_pb2 import FollowSubjectsRequest, SubjectResults

from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.documents.model import DocumentLink
from services.results.exchange.convert import link_from_proto, replica_from_proto
from services.results.exchange.model import Replica
from services.runtime.call import outgoing_metadata, seconds_left
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import ReconnectingStub

if TYPE_CHECKING:
    from hutong.results.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

FOLLOW_SECONDS = 5.0
"""The longest a call to the nation may take."""
MAX_FOLLOWED = 20
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
    """Follows persons at the nation. Askers who meet share a call."""

    def __init__(self, line: ReconnectingStub[ExchangeServiceAsyncStub], jurisdiction: str) -> None:
        self._line = line
        self._node = format_node(jurisdiction)
        self._coalescer: Coalescer[bytes, SubscribedSubject] = Coalescer(self.follow_each, max_batch=MAX_FOLLOWED)

    async def follow(self, subject_key: bytes) -> SubscribedSubject:
        """All that the nation keeps of a person, who is followed there from now on. UPSTREAM_UNAVAILABLE."""
        try:
            async with asyncio.timeout(seconds_left(FOLLOW_SECONDS / _SHARE) * _SHARE):
                return await self._coalescer.ask(subject_key)
        except TimeoutError:
            raise _away() from None

    async def follow_each(self, subject_keys: Sequence[bytes]) -> list[SubscribedSubject]:
        """The same for up to MAX_FOLLOWED persons, in order, outside of any call."""
        request = FollowSubjectsRequest(node=self._node, subject_keys=subject_keys)
        stub = self._line.stub
        try:
            response = await stub.FollowSubjects(request, timeout=FOLLOW_SECONDS, metadata=outgoing_metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT and len(subject_keys) > 1:
                # It has more to tell than a message holds, or finds fault with one of them.
                half = len(subject_keys) // 2
                return [*await self.follow_each(subject_keys[:half]), *await self.follow_each(subject_keys[half:])]
            _log.warning("the nation does not answer", code=error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self._line.renew(stub)
            raise _away() from None
        links = [link_from_proto(link) for link in response.links]
        return [_followed(subject, links) for subject in response.subjects]


def _followed(subject: SubjectResults, links: Sequence[DocumentLink]) -> SubscribedSubject:
    keys = list(subject.subject_keys)
    theirs = [link for link in links if {link.document.subject_key, link.linked_document.subject_key} & set(keys)]
    return SubscribedSubject(keys, [replica_from_proto(result) for result in subject.results], theirs)


def _away() -> Unavailable:
    return Unavailable(
        "UPSTREAM_UNAVAILABLE", "the national node does not answer; try again", metadata={"node": format_node(NATION)}
    )
