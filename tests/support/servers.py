"""Runs real servers on real ports, in the process of the test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from services.runtime.configuration.settings import Settings
from services.runtime.server.server import running
from services.runtime.server.service import Service
from services.runtime.server.timing import ServerTiming
from tests.support.processes import INSECURE, PATIENT
from tests.support.secrets import PEPPER, write_secret


def settings_for(directory: Path, *, pepper: bytes = PEPPER, **variables: str) -> Settings:
    """Return the settings of a node with its files in a directory. Keywords are HUTONG_ variables in lower case."""
    pepper_file = write_secret(directory / "test-pepper", pepper)
    environment = PATIENT | {"HUTONG_DATA_DIR": str(directory), "HUTONG_PEPPER_FILE": str(pepper_file)}
    if "tls_client_ca_file" not in variables:
        environment |= INSECURE
    environment |= {f"HUTONG_{name.upper()}": value for name, value in variables.items()}
    return Settings.from_environment(environment)


@contextlib.asynccontextmanager
async def serving(
    service: Service, settings: Settings, grace: float = 1.0, timing: ServerTiming | None = None
) -> AsyncIterator[str]:
    """Serve a service with all interceptors on a free port of loopback. Yields its address."""
    async with running(service, "127.0.0.1:0", settings, grace, timing) as server:
        yield f"127.0.0.1:{server.port}"


@contextlib.asynccontextmanager
async def channel_to(
    service: Service, settings: Settings, timing: ServerTiming | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Serve a service and open an insecure channel to it."""
    async with (
        serving(service, settings, timing=timing) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


@contextlib.asynccontextmanager
async def bare_channel(register: Any, servicer: object) -> AsyncIterator[grpc.aio.Channel]:
    """Run a server without interceptors and open a channel to it."""
    async with bare_server(register, servicer) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@contextlib.asynccontextmanager
async def bare_server(register: Any, servicer: object) -> AsyncIterator[str]:
    """Run a server without interceptors until the block ends. Yield its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def add_handler(handler: grpc.GenericRpcHandler, server: grpc.aio.Server) -> None:
    """Register a handler in place of a servicer, for `bare_server`."""
    server.add_generic_rpc_handlers((handler,))


def new_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Open a channel with a connection of its own. Other channels of a process to one server share a connection."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.aio.insecure_channel(address, own)
    return grpc.aio.secure_channel(address, credentials, own)
