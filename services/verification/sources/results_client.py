"""The client of Results. Look-ups that arrive together share a call. Results counts as unavailable if it is late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
import structlog
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsResponse
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE, SOURCE_STATE_UNAVAILABLE, DataSource
from hutong.results.v1.results_service_pb2 import LookupLatestItem, LookupLatestResponse

from services.domain.errors import HutongError, InvalidArgument, Violation
from services.domain.names import format_node
from services.domain.subject import Pepper
from services.runtime.call import inner_metadata
from services.runtime.client.circuit_breaker import CircuitBreaker
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.client.repeating import repeat_if_not_begun
from services.runtime.consistency import read_token
from services.runtime.limits import SOURCE_SECONDS
from services.runtime.server.status import info_from_status
from services.runtime.server.validation import recognize
from services.storage.pepper_marks import marks_of
from services.verification.decision.model import SOURCE_UNAVAILABLE, SourceStatus
from services.verification.sources.lookup_answer import LookupAnswer, answer_from_message, answers_from_columns
from services.verification.sources.lookup_batch import batch_of
from services.verification.sources.model import LookUp

if TYPE_CHECKING:
    from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import InternalLookupServiceAsyncStub

Answer = LookupAnswer | None
"""What a look-up found; None if Results failed or did not answer in time."""


BATCHES_AT_ONCE = 2
"""The most calls of `look_up_each` at once, for local and for nationwide look-ups each.

More calls would only wait in Results, and that wait would look like a failure.
"""
_FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INVALID_ARGUMENT})
"""gRPC codes with which one faulty look-up makes its whole batch fail. The batch is halved until only that look-up
fails."""


DOCUMENTS_SECONDS = 60.0
"""How long look-ups are sent with their documents after Results has refused subject keys.

This happens while the pepper rotates, if only one of the two services has the second version of the pepper yet. It also
happens after an update, while Results is still of an older release."""

_log = structlog.get_logger(__name__)
_KEYS_REFUSED = frozenset({grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT})
"""gRPC codes with which Results refuses subject keys."""


class ResultsClient:
    """Asks this node's Results."""

    def __init__(
        self,
        stub: ReconnectingStub[InternalLookupServiceAsyncStub],
        jurisdiction: str,
        pepper: Pepper,
        source_seconds: float = SOURCE_SECONDS,
    ) -> None:
        self._stub = stub
        self._pepper = pepper
        self._marks = marks_of(pepper)
        # Until then look-ups are sent with their documents, by the clock of the event loop.
        self._documents_until = 0.0
        self._seconds = source_seconds
        source = f"{format_node(jurisdiction)}/results"
        self.unavailable = SourceStatus(source, SOURCE_UNAVAILABLE, None)
        self._breaker = CircuitBreaker(source, longest_seconds=source_seconds)
        # Look-ups that arrive while calls are under way share the next call, which costs both sides far less.
        # Nationwide look-ups have calls of their own, so that no other look-up waits for a slow nation.
        self._local: Coalescer[LookUp, Answer] = Coalescer(
            self.look_up_shared, name="look-up batch", on_late=self._give_up
        )
        self._nationwide: Coalescer[LookUp, Answer] = Coalescer(
            self.look_up_shared, in_flight=4, name="nationwide look-up batch", on_late=self._give_up
        )
        self._region = jurisdiction
        # A look-up with another node's token may have to wait for that node's commits, so it has a call of its own.
        # Its lateness says nothing about Results.
        self._unshared: Coalescer[LookUp, Answer] = Coalescer(
            self.look_up_shared, max_batch=1, in_flight=64, name="look-up with a token", on_late=lambda _: None
        )
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._nationwide_batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._late: set[asyncio.Future[Sequence[Answer | HutongError]]] = set()

    def ask(self, look_up: LookUp, share: float = 1.0) -> asyncio.Future[Answer]:
        """Send a look-up and return the future of its answer.

        Results may take `source_seconds` for an answer. This look-up waits for `share` of that time, and less if the
        circuit is open. After this wait the future has None as its answer.

        Raises:
            InvalidArgument: Results rejects the look-up. The future raises this error.
        """
        if self.is_shared(look_up):
            coalescer = self._local
        elif self.may_wait(look_up):
            coalescer = self._unshared
        else:
            coalescer = self._nationwide
        return coalescer.ask(look_up, self.seconds_to_wait(share))

    def seconds_to_wait(self, share: float = 1.0) -> float:
        """Return the longest wait for a look-up that may take this share of the time that Results has for an answer."""
        return self._breaker.seconds_of(self._seconds * share)

    def is_shared(self, look_up: LookUp) -> bool:
        """Return whether Results answers a look-up from its own store.

        If Results does, no other look-up of the same call waits long with this look-up.
        """
        return look_up.scope != LOOKUP_SCOPE_NATIONWIDE and not self.may_wait(look_up)

    def may_wait(self, look_up: LookUp) -> bool:
        """Return whether a look-up has a consistency token of another node.

        For such a token Results asks the nation, whatever the scope is, and may wait for the other node's commits. For
        a token of this node Results does not wait.
        """
        commit = read_token(look_up.at_least_as_fresh)
        return commit is not None and commit.region != self._region

    async def look_up_each(self, look_ups: Sequence[LookUp], share: float = 1.0) -> Sequence[Answer | HutongError]:
        """Answer several look-ups in order.

        Look-ups without another node's token share one call. Look-ups with the same token of another node share a call
        too.
        """
        by_token: dict[str, Coalescer[LookUp, Answer]] = {}
        waiting: dict[int, asyncio.Future[Answer]] = {}
        for index, one in enumerate(look_ups):
            token = one.at_least_as_fresh
            if token and self.may_wait(one):
                coalescer = by_token.setdefault(
                    token, Coalescer(self.look_up_shared, name="look-up batch", on_late=self._give_up)
                )
                waiting[index] = coalescer.ask(one, self.seconds_to_wait(share))
        rest = [one for index, one in enumerate(look_ups) if index not in waiting]
        together = await self._look_up_together(rest, share)
        if not waiting:
            return together
        await asyncio.wait(waiting.values())
        prompt = iter(together)
        return [_outcome(waiting[index]) if index in waiting else next(prompt) for index in range(len(look_ups))]

    async def _look_up_together(self, look_ups: list[LookUp], share: float) -> Sequence[Answer | HutongError]:
        if not look_ups:
            return []
        nationwide = any(one.scope == LOOKUP_SCOPE_NATIONWIDE for one in look_ups)
        async with self._nationwide_batches if nationwide else self._batches:
            call = asyncio.ensure_future(self.look_up_shared(look_ups))
            try:
                await asyncio.wait([call], timeout=self.seconds_to_wait(share))
            except asyncio.CancelledError:
                call.cancel()
                raise
        if call.done():
            return call.result()
        # The call is not cancelled. Its late answer closes the circuit breaker again.
        self._late.add(call)
        call.add_done_callback(self._late.discard)
        self.note_late()
        return [None] * len(look_ups)

    def _give_up(self, _look_up: LookUp) -> Answer:
        """Return the answer to a look-up whose deadline has passed."""
        self.note_late()
        return None

    def note_late(self) -> None:
        """Note that a look-up had no answer in time, so that the waits for the next look-ups are shorter."""
        self._breaker.record_failure("no answer in time")

    async def look_up_shared(self, look_ups: list[LookUp]) -> Sequence[Answer | HutongError]:
        """Answer look-ups in order by one call. The caller limits the wait for each look-up."""
        pepper = self._pepper if asyncio.get_running_loop().time() >= self._documents_until else None
        request, keyed_count, order = batch_of(look_ups, pepper, self._marks)
        stub = self._stub.stub
        try:
            response = await repeat_if_not_begun(
                lambda: stub.BatchLookupColumns(request, timeout=self._seconds, metadata=inner_metadata())
            )
        except grpc.aio.AioRpcError as error:
            if keyed_count and error.code() in _KEYS_REFUSED:
                return await self._look_up_by_document(look_ups)
            if len(look_ups) > 1 and error.code() in _FAULTS:
                half = len(look_ups) // 2
                return [
                    *await self.look_up_shared(look_ups[:half]),
                    *await self.look_up_shared(look_ups[half:]),
                ]
            self._breaker.record_failure(error.code().name)
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self._stub.renew(stub)
            return [None] * len(look_ups)
        self._breaker.record_success()
        answers = _answers(response, keyed_count)
        if keyed_count and len(answers) != len(look_ups):
            # A Results of an older release has overlooked the subject keys.
            return await self._look_up_by_document(look_ups)
        if order is None:
            return answers
        by_index = dict(zip(order, answers, strict=True))
        return [by_index[index] for index in range(len(look_ups))]

    async def _look_up_by_document(self, look_ups: list[LookUp]) -> Sequence[Answer | HutongError]:
        """Answer look-ups whose subject keys Results has refused. For some time, send all look-ups with documents."""
        _log.warning("Results does not take the subject keys of this process", documents_seconds=DOCUMENTS_SECONDS)
        self._documents_until = asyncio.get_running_loop().time() + DOCUMENTS_SECONDS
        return await self.look_up_shared(look_ups)


def _answers(response: BatchLookupColumnsResponse, keyed_count: int) -> Sequence[Answer | HutongError]:
    """Return the answers of a call in the order of Results, whether they were sent as messages or in columns.

    The first `keyed_count` answers are in columns.
    """
    from_items = [_answer(item) for item in response.items]
    if not response.HasField("columns"):
        return from_items
    from_columns = answers_from_columns(response.columns)
    if not from_items:
        return from_columns
    item_indexes = [keyed_count + index for index in response.columns.item_requests]
    by_index = dict(zip(item_indexes, from_items, strict=True))
    rest = iter(from_columns)
    count = len(from_items) + len(from_columns)
    return [by_index[index] if index in by_index else next(rest) for index in range(count)]


def _answer(item: LookupLatestItem) -> Answer | HutongError:
    if not item.HasField("error"):
        return answer_from_message(item.response)
    error = item.error
    if error.code == code_pb2.INVALID_ARGUMENT:
        return InvalidArgument.of(_violations(error))
    info = info_from_status(error)
    if info.reason == "NOT_FRESH_ENOUGH":
        # Results has not seen the commits of the token, so the answer names their node as unavailable.
        unavailable = DataSource(node=info.metadata["node"].removesuffix("/results"), state=SOURCE_STATE_UNAVAILABLE)
        return answer_from_message(LookupLatestResponse(sources=[unavailable]))
    return None


def _outcome(future: asyncio.Future[Answer]) -> Answer | HutongError:
    error = future.exception()
    return error if isinstance(error, HutongError) else future.result()


def _violations(status: status_pb2.Status) -> list[Violation]:
    """Return the faults that Results found, with the field names of VerifyRequest."""
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(bad):
            return [
                Violation(
                    fault.field.replace("claimed_reports", "evidence"), fault.reason, recognize(fault.description)
                )
                for fault in bad.field_violations
            ]
    return [Violation("document", "INVALID_FIELD", recognize(status.message))]
