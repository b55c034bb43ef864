"""The client for subscriptions to subjects at the node above."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import grpc
import structlog
from hutong.exchange.v1.exchange_service_pb2 import SubjectResults, SubscribeSubjectsRequest
from hutong_texts import english

from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.documents.model import DocumentLink
from services.results.exchange.convert.links import link_from_proto
from services.results.exchange.convert.positions import subscription_position_from_proto
from services.results.exchange.convert.results import replica_from_proto
from services.results.exchange.model import Replica, SubscriptionPosition
from services.results.timing import ResultsTiming
from services.runtime.call import outgoing_metadata, seconds_left
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import ReconnectingStub

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

MAX_SUBSCRIBED = 20
"""The most subjects in one call. Even with 200 results for each subject, nearly every answer fits into a message. If an
answer does not fit, the call is divided into halves."""
_SHARE = 0.8
"""Share of the caller's time for the call. The rest is for storing and returning the results."""

_log = structlog.get_logger(__name__)


class SubscribedSubject(NamedTuple):
    """What the node above has of a subject: all keys of the subject, and the results and links to store.

    The first key is the key in the question. Whoever stores the keys as subscribed stores the positions with them. An
    answer of the release before has no position.
    """

    subject_keys: list[bytes]
    replicas: list[Replica]
    links: list[DocumentLink]
    positions: tuple[SubscriptionPosition, ...]


class SubscriptionClient:
    """Subscribes to subjects at the node above. Concurrent calls are combined."""

    def __init__(
        self, connection: ReconnectingStub[ExchangeServiceAsyncStub], jurisdiction: str, timing: ResultsTiming
    ) -> None:
        self._timing = timing
        self._connection = connection
        self._node = format_node(jurisdiction)
        self._coalescer: Coalescer[bytes, SubscribedSubject] = Coalescer(
            partial(self.subscribe_each, nationwide=True), max_batch=MAX_SUBSCRIBED, name="subscription batch"
        )

    async def subscribe(self, subject_keys: Sequence[bytes]) -> SubscribedSubject:
        """Subscribe to a subject and return what the node above has of it now.

        `subject_keys` are the keys of one document under each key version.

        Raises:
            Unavailable: UPSTREAM_UNAVAILABLE, the node above does not answer in time.
        """
        try:
            async with asyncio.timeout(seconds_left(self._timing.subscribe / _SHARE) * _SHARE):
                return _joined(await asyncio.gather(*map(self._coalescer.ask, subject_keys)))
        except TimeoutError:
            raise _upstream_unavailable() from None

    async def subscribe_each(
        self, subject_keys: Sequence[bytes], *, nationwide: bool = False
    ) -> list[SubscribedSubject]:
        """Subscribe to up to MAX_SUBSCRIBED subjects, outside of any call. Answers are in the order of the keys.

        If `nationwide` is set, the node above first subscribes to the subjects at the next node above, if there is one.
        """
        request = SubscribeSubjectsRequest(node=self._node, subject_keys=subject_keys, nationwide=nationwide)
        stub = self._connection.stub
        try:
            response = await stub.SubscribeSubjects(
                request, timeout=self._timing.subscribe, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT and len(subject_keys) > 1:
                # The answer exceeds a message, or one key is invalid. The subjects are therefore subscribed to in
                # halves.
                half = len(subject_keys) // 2
                return [
                    *await self.subscribe_each(subject_keys[:half], nationwide=nationwide),
                    *await self.subscribe_each(subject_keys[half:], nationwide=nationwide),
                ]
            _log.warning("the nation does not answer", code=error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self._connection.renew(stub)
            raise _upstream_unavailable() from None
        links = [link_from_proto(link) for link in response.links]
        positions = (subscription_position_from_proto(response.position),) if response.HasField("position") else ()
        return [_subscribed(subject, links, positions) for subject in response.subjects]


def positions_of(subscribed: Iterable[SubscribedSubject]) -> list[SubscriptionPosition]:
    """Return the positions of answers, each once."""
    return sorted({position for subject in subscribed for position in subject.positions})


def _subscribed(
    subject: SubjectResults, links: Sequence[DocumentLink], positions: tuple[SubscriptionPosition, ...]
) -> SubscribedSubject:
    keys = list(subject.subject_keys)
    of_subject = [link for link in links if {link.document.subject_key, link.linked_document.subject_key} & set(keys)]
    return SubscribedSubject(keys, [replica_from_proto(result) for result in subject.results], of_subject, positions)


def _joined(found: Sequence[SubscribedSubject]) -> SubscribedSubject:
    """Return what the node above has of one document under all keys of the document.

    Each result and link occurs once.
    """
    results = {(one.result.lab, one.result.report_number): one for subject in found for one in subject.replicas}
    return SubscribedSubject(
        list(dict.fromkeys(key for subject in found for key in subject.subject_keys)),
        list(results.values()),
        list({link.link_id: link for subject in found for link in subject.links}.values()),
        tuple(positions_of(found)),
    )


def _upstream_unavailable() -> Unavailable:
    return Unavailable(
        "UPSTREAM_UNAVAILABLE",
        english("the national node does not answer; try again"),
        metadata={"node": format_node(NATION)},
    )
