"""`hutongd serve SERVICE --workers N`: one service in several processes behind one port.

The parent binds the port without listening. The port therefore stays taken while workers come and go. Each worker
listens at the same port, and the kernel distributes the connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from hutong_texts import current_language, english
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from services.runtime.addresses import socket_path, split_address
from services.runtime.configuration.pepper_source import read_pepper
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.operators_port import OperatorsPort
from services.runtime.server.server import cannot_listen, check_exposure, find_bind_error
from services.runtime.server.workers.group import RESTARTS, WorkerGroup
from services.runtime.server.workers.model import Launch
from services.storage.connections import find_sqlite_file

_MODULE = "services.command.worker"
_ROOT = Path(__file__).parents[2]
"""The folder of the package `services`."""
_MEASURE_SECONDS = 5.0
"""The longest wait for the metrics of all workers, in seconds. The group itself waits for less time."""


def check_workers(settings: Settings, services: list[str], workers: int) -> None:
    """Check that these services can be served by this number of worker processes.

    Raises:
        BadSetting: they cannot. The text says why.
    """
    if workers == 1:
        return
    if len(services) > 1:
        raise BadSetting(
            english(
                "workers serve one service, as in hutongd serve verification --workers 2: name one, or ask "
                "for no workers"
            )
        )
    (service,) = services
    address = settings.service(service).address
    if service == "results" and find_sqlite_file(settings.results.database_url) is not None:
        raise BadSetting(
            english(
                "Results on SQLite is served by one process: no workers, or PostgreSQL in HUTONG_RESULTS_DATABASE_URL"
            )
        )
    if socket_path(address):
        raise BadSetting(
            english(
                "workers cannot share a unix socket: HUTONG_{service}_ADDRESS must be host:port",
                service=service.upper(),
            )
        )
    if not hasattr(socket, "SO_REUSEPORT"):
        raise BadSetting(english("workers need a system with SO_REUSEPORT"))


def serve_workers(settings: Settings, service: str, workers: int, config: Path | None) -> None:
    """Serve a service with a number of workers until SIGTERM or SIGINT.

    Raises:
        BadSetting: the port is taken, or the settings cannot be used.
        WorkersFailed: the workers cannot serve.
    """
    address = settings.service(service).address
    check_exposure(address, settings)
    with _reserved(service, address) as shared:
        asyncio.run(_run(settings, service, workers, shared, config))


async def _run(settings: Settings, service: str, workers: int, address: str, config: Path | None) -> None:
    environment = {
        **os.environ,
        # Workers run the same code as this process, whatever is in the working directory.
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        f"HUTONG_{service.upper()}_ADDRESS": address,
        # Workers send each other hashes of persons. All of them, even workers that start later, therefore need the same
        # key for Python's hash.
        "PYTHONHASHSEED": str(1 + secrets.randbelow(2**32 - 1)),
    }
    sources = [settings.pepper_source, settings.other_pepper_source]
    peppers = {one.name: read_pepper(one, settings.data_dir).secret for one in sources if one.kind == "descriptor"}

    def launch(number: int, link: socket.socket) -> Launch:
        command = [sys.executable, "-P", "-m", _MODULE, service, f"--link={link.fileno()}", f"--number={number}"]
        command += [f"--workers={workers}", f"--lang={current_language()}"]
        if config is not None:
            command.append(f"--config={config}")
        files = {f"{name}_DESCRIPTOR": _hand_over(secret) for name, secret in peppers.items()}
        descriptors = {name: str(file) for name, file in files.items()}
        return Launch(command, environment | descriptors, list(files.values()))

    registry = CollectorRegistry()
    operators = None
    if settings.metrics_address:
        operators = OperatorsPort(settings.metrics_address, services=1, registry=registry, any_suffices=True)
    try:
        group = WorkerGroup(workers, launch, settings.drain_seconds)
        if operators is not None:
            group.on_change = operators.replace
            registry.register(RESTARTS)
            registry.register(_Measured(group, asyncio.get_running_loop()))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, group.stop)
        loop.add_signal_handler(signal.SIGHUP, group.reload)
        loop.add_signal_handler(signal.SIGUSR2, group.renew)
        await group.run()
    finally:
        if operators is not None:
            await asyncio.to_thread(operators.close)


class _Measured(Collector):
    """Lets the workers send their metrics when Prometheus asks.

    `collect` is called by threads of the operators' port.
    """

    def __init__(self, group: WorkerGroup, loop: asyncio.AbstractEventLoop) -> None:
        self._group = group
        self._loop = loop

    def collect(self) -> list[Metric]:
        """Return the metrics of all workers together."""
        return asyncio.run_coroutine_threadsafe(self._group.measure(), self._loop).result(_MEASURE_SECONDS)

    def describe(self) -> list[Metric]:
        """Return nothing, because the metrics are known only once a worker serves."""
        return []


@contextlib.contextmanager
def _reserved(service: str, address: str) -> Iterator[str]:
    """Bind an address while the block runs, without listening.

    Yield the address; port 0 is replaced by the port that was chosen.

    Raises:
        BadSetting: another program has the address.
    """
    if cause := find_bind_error(address):
        raise cannot_listen(address, cause, service)
    host, port = split_address(address)
    with contextlib.ExitStack() as bound:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in found:
            one = bound.enter_context(socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((place[0], port, *place[2:]))
            port = one.getsockname()[1]
        yield f"{address.rpartition(':')[0]}:{port}"


def _hand_over(secret: bytes) -> int:
    """Return the read end of a pipe that contains a secret. The secret is far shorter than a pipe's buffer."""
    reader, writer = os.pipe()
    os.write(writer, secret)
    os.close(writer)
    return reader
