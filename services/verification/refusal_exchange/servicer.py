"""RefusalExchangeService: the upper end of the exchange of reported refusals. The contract documents the RPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import structlog
from hutong.exchange.v1.refusal_exchange_service_pb2 import (
    ExchangeRefusalsRequest,
    ExchangeRefusalsResponse,
    RefusalExchangeFrame,
    RefusalExchangeStart,
)
from hutong.exchange.v1.refusal_exchange_service_pb2_grpc import RefusalExchangeServiceServicer
from hutong_texts import english

from services.domain.capabilities import OWN
from services.domain.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from services.domain.names import format_node
from services.domain.nodes import parse_node_below
from services.domain.subject import Pepper
from services.runtime.server.service import Drain
from services.storage.pepper_marks import name_versions, require_common_versions
from services.verification.refusal_exchange.session import RefusalSession
from services.verification.refusal_exchange.store import RefusalExchangeStore
from services.verification.refusal_exchange.timing import RefusalTiming

Context = Any
"""grpc.aio.ServicerContext."""
_log = structlog.get_logger(__name__)


class RefusalExchangeServicer(RefusalExchangeServiceServicer):
    """Exchanges reported refusals with the nodes below.

    `own` is the region of this node. `read_retired` returns the regions of the retired nodes below.
    """

    def __init__(
        self,
        store: RefusalExchangeStore,
        own: str,
        pepper: Pepper,
        drain: Drain,
        timing: RefusalTiming,
        read_retired: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        self._read_retired = read_retired
        self._store = store
        self._own = own
        self._pepper = pepper
        self._drain = drain
        self._timing = timing

    async def ExchangeRefusals(
        self, requests: AsyncIterator[ExchangeRefusalsRequest], context: Context
    ) -> AsyncIterator[ExchangeRefusalsResponse]:
        frames = aiter(requests)
        start = await self._read_start(frames)
        node = self._admit(start)
        try:
            begun = await self._store.begin(start, node, is_above=False)
        except FailedPrecondition:
            begun = await self._store.begin(start, node, is_above=False, retired=await self._read_retired())
        mine = RefusalExchangeStart(
            node=format_node(self._own),
            acknowledged_number=begun.numbers.acknowledged,
            received_number=begun.numbers.received,
            sent_number=begun.numbers.sent,
            capabilities=OWN,
        )
        name_versions(mine, self._pepper)
        yield ExchangeRefusalsResponse(start=mine)
        _log.info("a node exchanges reported refusals", node=format_node(node))
        written: asyncio.Queue[RefusalExchangeFrame | Exception | None] = asyncio.Queue(1)

        async def read() -> RefusalExchangeFrame | None:
            request = await anext(frames, None)
            if request is None:
                return None
            if not request.HasField("changes"):
                raise InvalidArgument.field(
                    "frame", english('only the first frame may be "start"'), "UPLOAD_NOT_STARTED"
                )
            return request.changes

        session = RefusalSession(self._store, node, self._timing, read, written.put, is_above=False, begun=begun)
        running = asyncio.ensure_future(self._run(session, written))
        try:
            while (frame := await written.get()) is not None:
                if isinstance(frame, Exception):
                    raise frame
                yield ExchangeRefusalsResponse(changes=frame)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _run(
        self, session: RefusalSession, written: asyncio.Queue[RefusalExchangeFrame | Exception | None]
    ) -> None:
        """Run a session until it ends or the server drains. The last item in `written` is the end: None or an error."""
        exchanging = asyncio.ensure_future(session.run())
        ending = asyncio.ensure_future(self._drain.wait())
        end: Exception | None = None
        try:
            await asyncio.wait([exchanging, ending], return_when=asyncio.FIRST_COMPLETED)
            if exchanging.done():
                exchanging.result()
            else:
                end = Unavailable("SHUTTING_DOWN", english("the server is being stopped; connect again"))
        except TimeoutError:
            end = DeadlineExceeded("DEADLINE", english("the node below was silent for too long"))
        except Exception as error:  # noqa: BLE001 - the reader of the queue raises it
            end = error
        finally:
            for task in (exchanging, ending):
                task.cancel()
            await asyncio.gather(exchanging, ending, return_exceptions=True)
        await written.put(end)

    async def _read_start(self, frames: AsyncIterator[ExchangeRefusalsRequest]) -> RefusalExchangeStart:
        try:
            async with asyncio.timeout(self._timing.silence):
                first = await anext(frames, None)
        except TimeoutError:
            raise DeadlineExceeded("DEADLINE", english("the node below was silent for too long")) from None
        if first is None or not first.HasField("start"):
            raise InvalidArgument.field("frame", english('the first frame must be "start"'), "UPLOAD_NOT_STARTED")
        return first.start

    def _admit(self, start: RefusalExchangeStart) -> str:
        """Return the calling node's region, which must lie in this node's region."""
        region = parse_node_below(start.node, self._own, "start.node")
        require_common_versions(start, self._pepper)
        return region
