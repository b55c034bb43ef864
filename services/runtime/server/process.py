"""A process that serves one or more services until a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from services.runtime.background import Background
from services.runtime.configuration.settings import Settings
from services.runtime.server.collection import CollectionTimes, collect_oldest
from services.runtime.server.interceptors.chain import Layer, ordered_layers
from services.runtime.server.operators_port import OperatorsPort
from services.runtime.server.server import RunningServer, start
from services.runtime.server.service import Service
from services.runtime.server.workers.worker import WorkerMembership
from services.runtime.tracing.spans import use_tracing
from services.runtime.tuning import freeze_heap

if TYPE_CHECKING:
    from services.runtime.tracing.export import TraceExport

_log = structlog.get_logger(__name__)


async def serve(
    openers: Sequence[Callable[[Settings], Awaitable[Service]]],
    settings: Settings,
    membership: WorkerMembership | None = None,
    arrange: Callable[..., list[Layer]] = ordered_layers,
) -> None:
    """Open services and serve each at its address until SIGTERM or SIGINT, then drain all of them at once.

    On SIGHUP the services read keys, authorities and the deny-list again. With a `membership` this process is a worker:
    it has one service, shares its port with other workers, and leaves metrics and health to its parent. `arrange` takes
    the arguments of `ordered_layers` and returns the layers. A bench uses it to leave some layers out.

    Raises:
        BadSetting: an address or a file of TLS cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    times, collecting = CollectionTimes(), Background([collect_oldest])
    if membership is not None:
        await membership.join()
    export = _open_export(settings)
    operators = None
    if settings.metrics_address and membership is None:
        operators = OperatorsPort(settings.metrics_address, len(openers))
    servers: list[RunningServer] = []
    try:
        for open_service in openers:
            service = await open_service(settings)
            try:
                address = settings.service(service.name).address
                server = await start(service, address, settings, arrange=arrange, shares_port=membership is not None)
            except BaseException:
                await service.close()
                raise
            servers.append(server)
            if operators is not None:
                operators.add(service.name, server.health)
        freeze_heap()
        # The collection at the start takes longer than any later collection, so measuring begins after it.
        times.start()
        collecting.start()
        reloading: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGHUP, _reload, servers, reloading)
        if membership is not None:
            membership.serve(servers[0].accounts, servers[0].health)
        await stop.wait()
        _log.info("draining", seconds=settings.drain_seconds)
    finally:
        times.stop()
        await collecting.stop()
        await asyncio.gather(*(server.stop(settings.drain_seconds) for server in servers))
        if operators is not None:
            await asyncio.to_thread(operators.close)
        if membership is not None:
            await membership.leave()
        if export is not None:
            use_tracing(None)
            await asyncio.to_thread(export.stop)


def _open_export(settings: Settings) -> TraceExport | None:
    """Let this process trace if the settings name a receiver."""
    if not settings.otlp_endpoint:
        return None
    # OpenTelemetry is imported only here, because it takes 75 ms and a few megabytes.
    from services.runtime.tracing.export import open_export  # noqa: PLC0415

    export = open_export(settings)
    use_tracing(export.tracing)
    return export


def _reload(servers: Sequence[RunningServer], running: set[asyncio.Task[None]]) -> None:
    """Let each server read its files again.

    `running` holds the tasks until they end, so that they are not collected.
    """
    _log.info("reloading")
    for server in servers:
        task = asyncio.get_running_loop().create_task(server.reload())
        running.add(task)
        task.add_done_callback(running.discard)
