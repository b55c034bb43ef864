"""Makes random calls of every RPC, and collects the answers that no caller may ever get."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.access.methods import METHODS, find_call
from tests.support.errors import LOST_STATUS
from tests.support.hostile.examples import read_examples
from tests.support.hostile.report import FAULTS_AT_MOST, Report
from tests.support.hostile.requests import KINDS, RequestMaker, make_metadata
from tests.support.servers import new_channel
from tests.support.waiting import turns

RPCS: Sequence[MethodDescriptor] = [
    *METHODS,
    *health_pb2.DESCRIPTOR.services_by_name["Health"].methods,
    *reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods,
]
"""Every RPC that a server answers: those of the contract, health and reflection."""
AT_ONCE = 64
"""Calls under way in one process. Many of them wait for their deadline, for example those of watches."""
CONNECTIONS = 2
"""Connections of one process to each service."""
BROKEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
"""Codes that mean a fault of the server."""
_BROKEN_ITEMS = {code_pb2.INTERNAL, code_pb2.UNKNOWN, code_pb2.DATA_LOSS}
_LENGTHS = (0, 1, 3, 10, 30, 100)
"""Messages of a stream. The server ends most streams at the first message that it refuses."""
_NAMES_KEPT = 20
"""Names of each kind of object that are used in later requests."""
_SHOWN_BYTES = 2_000
"""Bytes of a request that are shown with its fault."""


class HostileCaller:
    """Calls every RPC of some nodes with random requests, each call by a seed of its own.

    `nodes` has the addresses of each node's services.

    Attributes:
        names: the last names that servers have given to objects, by the kind of object. Later requests use them.
        report: what has come of the calls.
    """

    def __init__(self, nodes: Sequence[Mapping[str, str]], seed: int) -> None:
        self._nodes = nodes
        self._seed = seed
        self._calls = 0
        self._channels: dict[str, list[grpc.aio.Channel]] = {}
        self.names: dict[str, deque[str]] = {kind: deque(maxlen=_NAMES_KEPT) for kind in KINDS.values()}
        self.report = Report()

    async def run(self, messages: int, seconds: float) -> None:
        """Call until that many messages were sent, or for that long."""

        async def call_on() -> None:
            report = self.report
            while report.total < messages and not over.is_set() and len(report.faults) < FAULTS_AT_MOST:
                self._calls += 1
                await _Call(self, self._calls, random.Random(f"{self._seed}/{self._calls}")).run()

        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        ending = loop.call_later(seconds, over.set)
        async with contextlib.AsyncExitStack() as stack:
            for address in {address for node in self._nodes for address in node.values()}:
                opened = [await stack.enter_async_context(new_channel(address)) for _ in range(CONNECTIONS)]
                self._channels[address] = opened
            await self._send_examples()
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(call_on())
        ending.cancel()
        self.report.seconds = loop.time() - begun

    async def _send_examples(self) -> None:
        """Send the examples to each node once, so that it has a laboratory, results, policies, refusals and links."""
        methods = {method.full_name: method for method in METHODS}
        for node in self._nodes:
            for name, examples in read_examples().items():
                method = methods[name]
                channel = self._channels[self._address(node, method, random.Random(0))][0]
                for messages in examples:
                    data = [message.SerializeToString() for message in messages]
                    call = find_call(channel, method)(iter(data) if method.client_streaming else data[0], timeout=2.0)
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await (call.read() if method.server_streaming else call)
                    call.cancel()

    def channel_to(self, method: MethodDescriptor, rng: random.Random) -> grpc.aio.Channel:
        """Return a channel to one of the services that serve an RPC."""
        return rng.choice(self._channels[self._address(rng.choice(self._nodes), method, rng)])

    def _address(self, node: Mapping[str, str], method: MethodDescriptor, rng: random.Random) -> str:
        assert method.containing_service is not None
        package, area = method.containing_service.full_name.split(".")[:2]
        if package == "grpc" or area == "audit":
            area = rng.choice(list(node))
        elif area == "approval":
            area = rng.choice(("results", "policy"))
        return node[area if area in node else "results"]


class _Call:
    """One call. Equal seeds make equal requests, apart from their times."""

    def __init__(self, caller: HostileCaller, number: int, rng: random.Random) -> None:
        self._report = caller.report
        self._number = number
        self._rng = rng
        self._maker = RequestMaker(rng, caller.names)
        self._names = caller.names
        self._method = rng.choice(RPCS)
        self._name = self._method.full_name
        self._start = find_call(caller.channel_to(self._method, rng), self._method)
        self._last = b""

    async def run(self) -> None:
        """Make the call, and read its answers."""
        rng, method = self._rng, self._method
        is_watch = method.server_streaming and not method.client_streaming
        options: dict[str, Any] = {
            "metadata": make_metadata(rng),
            # A watch lasts until its deadline.
            "timeout": rng.choice((0.0005, 0.02, 0.2, 2.0)) if rng.random() < 0.3 else 0.1 if is_watch else 2.0,
        }
        if method.client_streaming:
            call = self._start(self._stream(), **options)
        else:
            self._last = self._maker.make(method)
            self._report.messages[self._name] += 1
            call = self._start(self._last, **options)
        await self._read(call)

    async def _stream(self) -> AsyncIterator[bytes]:
        for message in self._maker.make_stream(self._method, self._rng.choice(_LENGTHS)):
            self._last = message
            yield message
            # A message counts only once gRPC has taken it.
            self._report.messages[self._name] += 1

    async def _read(self, call: Any) -> None:
        most = self._rng.choice((1, 3, 100))
        try:
            if self._method.server_streaming:
                for _ in range(most):
                    answer = await call.read()
                    if answer is grpc.aio.EOF:
                        break
                    self._check(answer)
                else:
                    call.cancel()
            elif self._rng.random() < 0.05:
                # The caller goes away while the server works.
                await turns(self._rng.randrange(50))
                call.cancel()
            else:
                self._check(await call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        except asyncio.CancelledError:
            # The call was cancelled above, or the test is being stopped.
            if not call.cancelled():
                raise
        code = await call.code()
        self._report.count_code(self._name, code.name)
        if code in BROKEN and LOST_STATUS not in (await call.details() or ""):
            self._note_fault(f"{code.name}: {await call.details()}")

    def _check(self, data: bytes) -> None:
        """Decode an answer, and look into the errors of its items."""
        message = message_factory.GetMessageClass(self._method.output_type).FromString(data)
        has_error = False
        self._learn(message)
        for item in [message, *getattr(message, "items", ())]:
            if "error" in item.DESCRIPTOR.fields_by_name and getattr(item.error, "code", 0):
                has_error = True
                if item.error.code in _BROKEN_ITEMS:
                    self._note_fault(f"an item: {item.error}")
        if not has_error:
            self._report.answered[self._name] += 1

    def _learn(self, answer: Any) -> None:
        """Keep the names of objects in an answer, so that later requests are about objects that exist."""
        for field, value in answer.ListFields():
            inner = value if field.is_repeated else [value]
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for one in inner:
                    self._learn(one)
            elif field.name in {"name", "decision", "refusal"} and isinstance(value, str):
                kind = KINDS.get(value.partition("/")[0])
                if kind is not None:
                    self._names[kind].append(value)

    def _note_fault(self, text: str) -> None:
        shown = self._last[:_SHOWN_BYTES].hex()
        self._report.faults.append(f"call {self._number}, {self._name}: {text}; the last message was {shown}")


async def call_at_random(
    nodes: Sequence[Mapping[str, str]], seed: int, messages: int, seconds: float, processes: int
) -> Report:
    """Call until that many messages were sent, or for that long, from this process or from several others.

    Python runs one thread at a time, so one calling process would be slower than the servers.
    """
    if processes == 0:
        caller = HostileCaller(nodes, seed)
        await caller.run(messages, seconds)
        return caller.report
    loop = asyncio.get_running_loop()
    report = Report()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = [
            loop.run_in_executor(pool, _run, nodes, seed + number, messages // processes, seconds)
            for number in range(processes)
        ]
        for each in await asyncio.gather(*running):
            report.add(each)
    return report


def _run(nodes: Sequence[Mapping[str, str]], seed: int, messages: int, seconds: float) -> Report:
    """Call from a process of its own."""
    return asyncio.run(call_at_random(nodes, seed, messages, seconds, 0))
