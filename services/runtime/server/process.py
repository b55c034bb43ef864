"""A process that serves one or more services until a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence

import structlog
from hutong_texts import english
from hutong_texts.system import system_text
from prometheus_client import start_http_server

from services.runtime.addresses import is_loopback, split_address
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.server import RunningServer, start
from services.runtime.server.service import Service
from services.runtime.tuning import freeze_heap

_log = structlog.get_logger(__name__)


async def serve(openers: Sequence[Callable[[Settings], Awaitable[Service]]], settings: Settings) -> None:
    """Open services and serve each at its address until SIGTERM or SIGINT, then drain all of them at once.

    SIGHUP makes them read keys, authorities and the deny-list again.

    Raises:
        BadSetting: an address cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.metrics_address:
        _serve_metrics(settings.metrics_address)
    servers: list[RunningServer] = []
    try:
        for open_service in openers:
            service = await open_service(settings)
            try:
                servers.append(await start(service, settings.service(service.name).address, settings))
            except BaseException:
                await service.close()
                raise
        freeze_heap()
        reloading: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGHUP, _reload, servers, reloading)
        await stop.wait()
        _log.info("draining", seconds=settings.drain_seconds)
    finally:
        await asyncio.gather(*(server.stop(settings.drain_seconds) for server in servers))


def _reload(servers: Sequence[RunningServer], running: set[asyncio.Task[None]]) -> None:
    """Let each server read its files again. `running` keeps the tasks until they have ended."""
    _log.info("reloading")
    for server in servers:
        task = asyncio.get_running_loop().create_task(server.reload())
        running.add(task)
        task.add_done_callback(running.discard)


def _serve_metrics(address: str) -> None:
    if not is_loopback(address):
        raise BadSetting(english("HUTONG_METRICS_ADDRESS must be on loopback: metrics are served in plain text"))
    host, port = split_address(address)
    try:
        start_http_server(port, host)
    except OSError as error:
        raise BadSetting(
            english(
                "HUTONG_METRICS_ADDRESS: cannot listen at {address}: {cause}", address=address, cause=system_text(error)
            )
        ) from None
