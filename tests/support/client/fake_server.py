"""Serves fake services to the client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc


@contextlib.contextmanager
def serving_fake(*register: Callable[[grpc.Server], None]) -> Iterator[str]:
    """Serve on a free port of loopback until the block ends. Yield the address. Each argument adds a service."""
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    for add in register:
        add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
