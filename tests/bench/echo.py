"""A bare grpc.aio server that answers at once. It measures what the wire and its messages alone cost."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import grpc
from google.protobuf.message import Message

CALL = "/bench.Echo/Call"
STREAM = "/bench.Echo/Stream"


@contextmanager
def echo_server(request: Message, response: Message) -> Iterator[str]:
    """Run the server in its own process until the block ends. Yields its address.

    CALL, and each message on STREAM, takes a message of the type of `request` and is answered with `response`.
    """
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_serve, args=(child, request, response), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{parent.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, request: Message, response: Message) -> None:
    asyncio.run(_echo(pipe, request, response))


async def _echo(pipe: Connection, request: Message, response: Message) -> None:
    async def call(_request: Message, _context: object) -> Message:
        return response

    async def stream(requests: AsyncIterator[Message], _context: object) -> AsyncIterator[Message]:
        async for _ in requests:
            yield response

    decode, encode = type(request).FromString, type(response).SerializeToString
    handlers = {
        "Call": grpc.unary_unary_rpc_method_handler(call, request_deserializer=decode, response_serializer=encode),
        "Stream": grpc.stream_stream_rpc_method_handler(
            stream, request_deserializer=decode, response_serializer=encode
        ),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(port)
    await server.wait_for_termination()
