"""A gRPC server that accepts many calls in one iteration of the event loop, and refuses calls before any work.

grpc.aio needs about three iterations to accept one call. Under load an iteration takes milliseconds. Calls would then
queue inside gRPC, where they grow old and cannot be refused. This server accepts the calls of each method itself. For
that it uses the same private parts of grpcio as grpc.aio. If the installed grpcio lacks these parts, a plain server
without limits is made. A test checks that the pinned version has these parts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import grpc
import structlog
from grpc._cython import cygrpc
from grpc.aio._server import Server as GrpcServer

ACCEPTED_AT_ONCE = 64
"""The most calls of one method that are accepted in one iteration of the event loop. Refusing this many takes three
milliseconds. With fewer, a busy process cannot refuse calls before their callers give up. With more, it spends its time
on refusals. Up to this number, each accepted call adds a task that accepts calls. Such a task takes about 2 kB of
memory."""
_NEEDED = (
    "_RequestCallError",
    "_ServicerContext",
    "_handle_rpc",
    "_schedule_rpc_coro",
    "ExecuteBatchError",
    "ReceiveCloseOnServerOperation",
    "SendInitialMetadataOperation",
    "SendStatusFromServerOperation",
    "_send_error_status_from_server",
    "execute_batch",
    "get_working_loop",
)
_NEEDED_OF_SERVER = ("_make_request_call_future", "_request_registered_call", "add_registered_method_handlers")

Trailers: TypeAlias = tuple[tuple[str, bytes | str], ...]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefusalStatus:
    """A status with which calls are refused. It is encoded once."""

    code: int
    text: str
    trailers: Trailers


_EXPIRED = RefusalStatus(
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0], "the caller's time was over before the call began", ()
)
"""Refuses a call whose caller's time is over. If such a call were dropped, gRPC would report CANCELLED to a caller that
still waits."""


class Limit(Protocol):
    """Decides whether the calls of one method are admitted."""

    def refuse(self, connection: str, left: float | None) -> RefusalStatus | None:
        """Return None if a call from a connection is admitted now, else the status that refuses it.

        `left` are the seconds that the caller still waits; None if it waits for ever. `end` is called once for each
        admitted call, when the call has ended.
        """
        ...

    def end(self, connection: str) -> None:
        """Note that an admitted call from a connection has ended."""
        ...


def make_server(
    handlers: Sequence[grpc.GenericRpcHandler],
    options: Sequence[tuple[str, Any]],
    limited: Mapping[str, tuple[Any, Limit]],
) -> grpc.aio.Server:
    """Return a server whose methods have limits, or a plain server if the installed grpcio has changed too much.

    `limited` has the handler and the limit of each limited method, by the method's full name. `handlers` serve all
    methods.
    """
    if can_limit():
        server: grpc.aio.Server = AcceptingServer(handlers, options, limited)  # type: ignore[assignment]
        return server
    _log.warning("calls are not limited by lag: this version of grpcio is not known", grpcio=grpc.__version__)
    return grpc.aio.server(handlers=handlers, options=options)


def can_limit() -> bool:
    """Whether the installed grpcio has all that `AcceptingServer` needs."""
    has_functions = all(hasattr(cygrpc, name) for name in _NEEDED)
    return has_functions and all(hasattr(cygrpc.AioServer, name) for name in _NEEDED_OF_SERVER)


class AcceptingServer(GrpcServer):
    """A server of grpc.aio whose methods have limits. See `make_server`."""

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler],
        options: Sequence[tuple[str, Any]],
        limited: Mapping[str, tuple[Any, Limit]],
    ) -> None:
        # The constructor of the base class is not called, because it would make grpc.aio's own core instead of
        # `_Acceptor`.
        self._loop = cygrpc.get_working_loop()
        self._server = _Acceptor(self._loop, None, handlers, (), tuple(options), None)
        self._server.limit(limited)


class _Acceptor(cygrpc.AioServer):  # type: ignore[misc]
    """The core of the server. Only `_make_request_call_future` is replaced."""

    def limit(self, limited: Mapping[str, tuple[Any, Limit]]) -> None:
        """Let a `_Method` accept the calls of each limited method."""
        self._methods = {name: _Method(self, name, handler, limit) for name, (handler, limit) in limited.items()}
        self.add_registered_method_handlers({name: handler for name, (handler, _) in limited.items()})

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """Return a future of the next call of a registered method.

        `method` None stands for all methods that are not registered. For a limited method the future gets no result,
        because a `_Method` accepts its calls.
        """
        limited = self._methods.get(method.decode()) if method is not None else None
        if limited is None:
            future: asyncio.Future[Any] = super()._make_request_call_future(method)
            return future
        limited.start()
        return asyncio.get_running_loop().create_future()


class _Method:
    """Accepts the calls of one method."""

    def __init__(self, server: _Acceptor, name: str, handler: Any, limit: Limit) -> None:
        self._server = server
        self._name = name
        self._raw = name.encode()
        self._limit = limit
        self._resolver = _Resolver(handler)
        self._reads_stream = handler.request_streaming
        self._loop = asyncio.get_event_loop()
        self._accepting: set[asyncio.Task[None]] = set()
        # Keeps the tasks alive, because the event loop holds only weak references to them.
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept calls, until the server stops."""
        self._accept_one_more()

    def _accept_one_more(self) -> None:
        task = self._loop.create_task(self._accept())
        self._accepting.add(task)
        task.add_done_callback(self._end_accepting)

    def _end_accepting(self, task: asyncio.Task[None]) -> None:
        """Let another task accept calls if a task has failed, because the method must still be served."""
        self._accepting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a call could not be accepted", method=self._name, exc_info=error)
            if self._server.is_running():
                self._accept_one_more()

    async def _accept(self) -> None:
        while True:
            try:
                call = await self._server._request_registered_call(self._raw)  # noqa: SLF001
            except cygrpc._RequestCallError:  # noqa: SLF001
                if self._server.is_running():
                    continue
                return
            if len(self._accepting) < ACCEPTED_AT_ONCE:
                self._accept_one_more()
            try:
                self._decide(call)
            finally:
                del call

    def _decide(self, call: Any) -> None:
        """Answer or refuse a call."""
        context = cygrpc._ServicerContext(call, None, None, self._loop)  # noqa: SLF001
        try:
            left = context.time_remaining()
            connection = context.peer()
            refusal = find_refusal(self._limit, connection, left)
            if refusal is None:
                self._answer(call, connection)
            else:
                self._refuse(call, refusal)
        finally:
            # gRPC releases a call only with its last reference, and a stopping server waits for that. The traceback of
            # a fault would keep this frame and its references.
            del context, call

    def _refuse(self, call: Any, refusal: RefusalStatus) -> None:
        if self._reads_stream:
            headers = cygrpc.SendInitialMetadataOperation((), 0)
            sending = cygrpc._send_error_status_from_server(  # noqa: SLF001
                call, refusal.code, refusal.text, refusal.trailers, headers, self._loop
            )
            refusing = cygrpc._schedule_rpc_coro(sending, call, self._loop, self._name)  # noqa: SLF001
        else:
            refusing = self._send_status(call, refusal)
        task = self._loop.create_task(refusing)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _send_status(self, call: Any, refusal: RefusalStatus) -> None:
        """Send a status as the whole answer, in one batch of gRPC's operations.

        The batch costs two thirds of gRPC's own functions. It is not used for streams of requests, because their status
        would arrive while the client still writes. A client of grpc.aio then loses the status and reports INTERNAL
        (grpc issue 36066).

        The batch also waits until the caller has closed its side of the call. Without that wait gRPC would reset the
        call after its status.
        """
        headers = cygrpc.SendInitialMetadataOperation((), 0)
        status = cygrpc.SendStatusFromServerOperation(refusal.trailers, refusal.code, refusal.text, 0)
        closed = cygrpc.ReceiveCloseOnServerOperation(0)
        # The batch fails if the connection is closed.
        with contextlib.suppress(cygrpc.ExecuteBatchError):
            await cygrpc.execute_batch(call, (headers, status, closed), self._loop)

    def _answer(self, call: Any, connection: str) -> None:
        answering = cygrpc._handle_rpc(self._name, self._resolver, (), call, self._loop, False)  # noqa: SLF001
        whole = cygrpc._schedule_rpc_coro(answering, call, self._loop, self._name)  # noqa: SLF001
        task = self._loop.create_task(whole)
        self._under_way.add(task)
        task.add_done_callback(partial(self._end, connection))

    def _end(self, connection: str, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._limit.end(connection)


def find_refusal(limit: Limit, connection: str, left: float | None) -> RefusalStatus | None:
    """Return the status that refuses a call with so many seconds left; None for a call that is admitted.

    A call without time left is refused without asking the limit.
    """
    return _EXPIRED if left == 0 else limit.refuse(connection, left)


class _Resolver:
    """Returns the handler of a method in the way in which grpcio asks for it."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def resolve_handler(self, _details: Any) -> Any:
        """Return the handler of the method."""
        return self._handler
