"""The lower end of the exchange of reported refusals: this node calls the Verification of the node above."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import grpc
import structlog
from hutong.exchange.v1.refusal_exchange_service_pb2 import (
    ExchangeRefusalsRequest,
    ExchangeRefusalsResponse,
    RefusalExchangeFrame,
    RefusalExchangeStart,
)
from hutong.exchange.v1.refusal_exchange_service_pb2_grpc import RefusalExchangeServiceStub
from hutong.type.v1.capability_pb2 import CAPABILITY_DECISION_COUNTS
from hutong_texts import english
from prometheus_client import Gauge

from services.domain.capabilities import OWN
from services.domain.errors import FailedPrecondition
from services.domain.names import format_node, parse_node
from services.domain.region import within
from services.domain.subject import Pepper
from services.runtime.client.reconnect import reconnect_forever
from services.runtime.client.reconnecting import OpenChannel
from services.runtime.client.stream_messages import begin_stream, read_message
from services.runtime.server.tree_check import check_tree
from services.runtime.server.validation import check
from services.storage.pepper_marks import name_versions, require_common_versions
from services.verification.refusal_exchange.counts import DecisionCountOutbox
from services.verification.refusal_exchange.session import RefusalSession
from services.verification.refusal_exchange.store import RefusalExchangeStore
from services.verification.refusal_exchange.timing import RefusalTiming

CONNECTED = Gauge("hutong_refusals_connected", "Whether reported refusals are exchanged with the node above: 1 or 0")
# The gauge is NaN until a link runs. A node without a node above never runs a link.
CONNECTED.set(math.nan)

_log = structlog.get_logger(__name__)


class RefusalLink:
    """Exchanges reported refusals with the node above as long as the service runs. `own` is the region of this node."""

    def __init__(
        self,
        store: RefusalExchangeStore,
        counts: DecisionCountOutbox,
        open_channel: OpenChannel,
        own: str,
        pepper: Pepper,
        timing: RefusalTiming,
    ) -> None:
        self._store = store
        self._counts = counts
        self._open_channel = open_channel
        self._own = own
        self._pepper = pepper
        self._timing = timing
        self._last_failure = ""

    async def run(self) -> None:
        """Exchange until cancelled. A background job."""
        CONNECTED.set(0)
        await reconnect_forever(self._connect, self._report_failure, self._timing.backoff)

    async def check_tree(self) -> None:
        """Check at the start that the Verification of the node above serves this node.

        If it does not answer, or another process of this node calls it, no error is raised.

        Raises:
            BadSetting: the node above does not serve this node.
        """
        seconds = self._timing.upstream_check
        await check_tree(self._ask, self._open_channel, "HUTONG_UPSTREAM_VERIFICATION", self._own, seconds)

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        async with self._store.calling() as is_caller:
            if is_caller:
                await self._begin(RefusalExchangeServiceStub(channel).ExchangeRefusals())

    def _report_failure(self, why: str, text: str) -> None:
        if why != self._last_failure:
            _log.warning("reported refusals are not exchanged with the node above", why=why, text=text)
        self._last_failure = why

    async def _connect(self) -> None:
        """Run one stream if this process may call the node above; otherwise wait before the next try."""
        async with self._store.calling() as is_caller:
            if is_caller:
                try:
                    async with self._open_channel() as channel:
                        await self._exchange(RefusalExchangeServiceStub(channel).ExchangeRefusals())
                finally:
                    CONNECTED.set(0)
                raise TimeoutError("the node above has ended the stream")
        await asyncio.sleep(self._timing.standby)

    async def _begin(self, call: Any) -> ExchangeRefusalsResponse:
        numbers = await self._store.ask()
        start = RefusalExchangeStart(
            node=format_node(self._own),
            acknowledged_number=numbers.acknowledged,
            received_number=numbers.received,
            sent_number=numbers.sent,
            capabilities=OWN,
        )
        name_versions(start, self._pepper)
        async with asyncio.timeout(self._timing.silence):
            return await begin_stream(call, ExchangeRefusalsRequest(start=start), ExchangeRefusalsResponse)

    async def _exchange(self, call: Any) -> None:
        try:
            answer = await self._begin(call)
            node = self._check(answer)
            begun = await self._store.begin(answer.start, node, is_above=True)

            async def read() -> RefusalExchangeFrame | None:
                return (await read_message(call, ExchangeRefusalsResponse)).changes

            async def write(frame: RefusalExchangeFrame) -> None:
                await call.write(ExchangeRefusalsRequest(changes=frame))

            CONNECTED.set(1)
            self._last_failure = ""
            _log.info("reported refusals are exchanged with the node above", node=format_node(node))
            session = RefusalSession(
                self._store,
                node,
                self._timing,
                read,
                write,
                is_above=True,
                begun=begun,
                counts=self._counts if CAPABILITY_DECISION_COUNTS in answer.start.capabilities else None,
            )
            await session.run()
        finally:
            call.cancel()

    def _check(self, answer: ExchangeRefusalsResponse) -> str:
        """Return the region of the node above.

        Raises:
            FailedPrecondition: NOT_AN_UPSTREAM, the node is not above this one; PEPPER_MISMATCH.
            InvalidArgument: the answer is no start.
        """
        check(answer.start)
        node = parse_node(answer.start.node)
        if node == self._own or not within(self._own, node):
            raise FailedPrecondition(
                "NOT_AN_UPSTREAM", english("HUTONG_UPSTREAM_VERIFICATION leads to {value}", value=answer.start.node)
            )
        require_common_versions(answer.start, self._pepper)
        return node
