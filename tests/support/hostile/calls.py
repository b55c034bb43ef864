"""Makes random calls of every RPC, and collects the answers that no caller may ever get."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import code_pb2

from tests.support.access.methods import METHODS, find_call
from tests.support.errors import LOST_STATUS
from tests.support.hostile.requests import RequestMaker, make_metadata
from tests.support.waiting import turns

AT_ONCE = 24
"""Calls under way."""
BROKEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
"""Codes that mean a fault of the server."""
_BROKEN_ITEMS = {code_pb2.INTERNAL, code_pb2.UNKNOWN, code_pb2.DATA_LOSS}


class HostileCaller:
    """Calls every RPC of a node with random requests.

    Attributes:
        frames: how many messages were sent.
        codes: how often calls ended with each code.
        faults: a line for each answer that means a fault of the server.
    """

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], seed: int) -> None:
        self._channels = channels
        self._rng = random.Random(seed)
        self._maker = RequestMaker(self._rng)
        self.frames = 0
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []

    async def run(self, frames: int, seconds: float) -> None:
        """Call until that many messages were sent, or for that long."""

        async def call_on() -> None:
            while self.frames < frames and not over.is_set() and len(self.faults) < 20:
                await self._call(self._rng.choice(METHODS))

        over = asyncio.Event()
        ending = asyncio.get_running_loop().call_later(seconds, over.set)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(call_on())
        ending.cancel()

    def _server_of(self, service: str) -> str:
        """Return which of the node's services serves an RPC. Some are served by several."""
        area = service.split(".")[1]
        if area in {"audit", "approval"}:
            return self._rng.choice(("results", "policy") if area == "approval" else tuple(self._channels))
        return area if area in self._channels else "results"

    async def _call(self, method: MethodDescriptor) -> None:
        rng = self._rng
        channel = self._channels[self._server_of(method.containing_service.full_name)]
        start = find_call(channel, method)
        is_watch = method.server_streaming and not method.client_streaming
        options: dict[str, Any] = {
            "metadata": make_metadata(rng),
            # A watch lasts until its deadline.
            "timeout": rng.choice((0.0005, 0.02, 0.2, 2.0)) if rng.random() < 0.3 else 0.1 if is_watch else 2.0,
        }
        if method.client_streaming:
            call = start(self._stream(method), **options)
        else:
            self.frames += 1
            call = start(self._maker.make(method.input_type), **options)
        await self._read(method, call)

    async def _stream(self, method: MethodDescriptor) -> AsyncIterator[bytes]:
        for _ in range(self._rng.choice((0, 1, 3, 10, 30))):
            self.frames += 1
            yield self._maker.make(method.input_type)

    async def _read(self, method: MethodDescriptor, call: Any) -> None:
        patience = self._rng.choice((1, 3, 100))
        try:
            if method.server_streaming:
                for _ in range(patience):
                    answer = await call.read()
                    if answer is grpc.aio.EOF:
                        break
                    self._check(method, answer)
                else:
                    call.cancel()
            elif self._rng.random() < 0.05:
                # The caller goes away while the server works.
                await turns(self._rng.randrange(50))
                call.cancel()
            else:
                self._check(method, await call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        except asyncio.CancelledError:
            # The call was cancelled above, or the test is being stopped.
            if not call.cancelled():
                raise
        code = await call.code()
        self.codes[code.name] += 1
        if code in BROKEN and LOST_STATUS not in (await call.details() or ""):
            self.faults.append(f"{method.full_name}: {code.name}: {await call.details()}")

    def _check(self, method: MethodDescriptor, data: bytes) -> None:
        """Decode an answer, and look into the errors of its items."""
        message = message_factory.GetMessageClass(method.output_type).FromString(data)
        items = getattr(message, "items", ())
        for item in [message, *items]:
            if "error" in item.DESCRIPTOR.fields_by_name and getattr(item.error, "code", 0) in _BROKEN_ITEMS:
                self.faults.append(f"{method.full_name}: an item: {item.error}")
