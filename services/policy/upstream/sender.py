"""Sends the policies of this node's region to the node above. The stream is a watch that this node offers.

This node stores no cursor, because the node above returns the cursor from which to go on. Only one process of a node
sends.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from hutong.policy.v1.policy_exchange_service_pb2 import (
    PolicySetAsideReason,
    SendPoliciesRequest,
    SendPoliciesResponse,
    SendPoliciesStart,
)
from hutong.policy.v1.policy_exchange_service_pb2_grpc import PolicyExchangeServiceStub
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest
from prometheus_client import Gauge

from services.domain.capabilities import OWN
from services.domain.errors import InvalidArgument, OutOfRange
from services.domain.names import format_node, parse_node
from services.domain.region import within
from services.policy.serving.watch import Watch
from services.policy.timing import PolicyTiming
from services.policy.upstream.founding import Founding
from services.policy.upstream.store import UpstreamStore
from services.runtime.client.reconnect import reconnect_forever
from services.runtime.client.stream_messages import begin_stream, read_message
from services.runtime.server.tree_check import check_tree

SENDING = Gauge("hutong_policy_sending", "Whether the policies of this node are being sent to the node above: 1 or 0")
SENDING.set(math.nan)

_log = structlog.get_logger(__name__)


class PolicySender:
    """Sends the policies of this node's region as long as the service runs."""

    def __init__(
        self,
        store: UpstreamStore,
        watch: Watch,
        founding: Founding,
        connect: Callable[[], grpc.aio.Channel],
        timing: PolicyTiming,
        jurisdiction: str,
    ) -> None:
        self._store = store
        self._watch = watch
        self._founding = founding
        self._connect = connect
        self._timing = timing
        self._jurisdiction = jurisdiction
        self._cause = ""

    async def run(self) -> None:
        """Send until cancelled. A background job."""
        SENDING.set(0)
        await reconnect_forever(self._send, self._on_disconnect, self._timing.backoff)

    async def check_tree(self) -> None:
        """Check at the start that the Policy of the node above serves this node.

        If it does not answer, or another process of this node sends, no error is raised.

        Raises:
            BadSetting: the node above does not serve this node.
        """
        seconds = self._timing.upstream_check_seconds
        await check_tree(self._ask, self._connect, "HUTONG_UPSTREAM_POLICY", self._jurisdiction, seconds)

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        async with self._store.sending() as is_sender:
            if is_sender:
                await self._begin(PolicyExchangeServiceStub(channel).SendPolicies())

    def _on_disconnect(self, cause: str, text: str) -> None:
        if cause != self._cause:
            _log.warning("policies are not sent to the node above", why=cause, text=text)
        self._cause = cause

    async def _send(self) -> None:
        """Run one stream if this process gets the lock of the sender. Otherwise wait for the next attempt."""
        async with self._store.sending() as is_sender:
            if is_sender:
                try:
                    await self._stream()
                finally:
                    SENDING.set(0)
                return
        await asyncio.sleep(self._timing.standby_seconds)

    async def _stream(self) -> None:
        async with self._connect() as channel:
            call = PolicyExchangeServiceStub(channel).SendPolicies(wait_for_ready=True)
            try:
                opened = await self._open(call)
                _log.info("policies are sent to the node above", node=opened.node, cursor=opened.cursor)
                self._cause = ""
                SENDING.set(1)
                inside = (parse_node(name) for name in opened.nodes)
                nodes = [region for region in inside if within(region, self._jurisdiction)]
                tasks = [
                    asyncio.ensure_future(self._write_messages(call, opened.cursor)),
                    asyncio.ensure_future(self._read_answers(call)),
                    asyncio.ensure_future(self._founding.complete(opened.sequence, nodes)),
                ]
                try:
                    await _first_failure(tasks)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                call.cancel()

    async def _begin(self, call: Any) -> SendPoliciesResponse:
        start = SendPoliciesStart(node=format_node(self._jurisdiction), capabilities=OWN)
        return await begin_stream(call, SendPoliciesRequest(start=start), SendPoliciesResponse)

    async def _open(self, call: Any) -> SendPoliciesResponse:
        try:
            # The first write waits until the connection is open.
            async with asyncio.timeout(self._timing.silence_seconds):
                return await self._begin(call)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                # A node above with an older release takes no policies from here. It hands over only what its watch
                # brings.
                await self._founding.complete(0, ())
            raise

    async def _write_messages(self, call: Any, cursor: str) -> None:
        try:
            await self._write_from(call, cursor)
        except (OutOfRange, InvalidArgument):
            # The node above knows a later state of this log, because this database was restored from an older copy.
            _log.warning("the node above knows another log of policies; everything is sent again")
            await self._write_from(call, "")

    async def _write_from(self, call: Any, cursor: str) -> None:
        async for message in self._watch.stream(WatchPoliciesRequest(cursor=cursor), self._jurisdiction):
            if message.HasField("event"):
                await call.write(SendPoliciesRequest(event=message.event, cursor=message.cursor))
            else:
                await call.write(SendPoliciesRequest(checkpoint=message.checkpoint, cursor=message.cursor))

    async def _read_answers(self, call: Any) -> None:
        while True:
            async with asyncio.timeout(self._timing.silence_seconds):
                answer = await read_message(call, SendPoliciesResponse)
            for one in answer.set_aside:
                why = PolicySetAsideReason.Name(one.reason).removeprefix("POLICY_SET_ASIDE_REASON_")
                _log.error("the node above has set a policy aside", policy=one.name, why=why)


async def _first_failure(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait until a task fails, and raise its error."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
