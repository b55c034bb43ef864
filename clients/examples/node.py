"""Run a node on this machine: three services as processes on loopback, with SQLite databases."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong_client import Tls

SERVICES = ("results", "policy", "verification")
ALL = "all"
"""Stands for all three services in one process. Its start takes half the processor time that three processes take."""
PORTS = range(10_000, 20_000)
"""Ports for services. By default no system gives them to an outgoing connection or to a server without a port of its
own. A service can therefore take its port seconds after the port was chosen, and again after it was killed."""
_START_SECONDS = 180.0
_STOP_SECONDS = 30.0


class NotServing(RuntimeError):
    """A service ended, or did not begin to serve in time. The text has the end of its log."""


class Node:
    """The processes of one node. Each writes its log to `{service}.log` beside its database.

    A service is "results", "policy", "verification", or ALL for the three in one process.

    Args:
        data_dir: the directory of the databases and logs.
        addresses: the address of each service.
        variables: further settings by their HUTONG_ names.
        tls: the files for health checks of a node that serves TLS; None for plain text.
    """

    def __init__(
        self,
        data_dir: Path,
        addresses: Mapping[str, str],
        variables: Mapping[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.addresses = dict(addresses)
        self._variables = dict(variables or {})
        self._tls = tls
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def settings(self) -> dict[str, str]:
        """The environment of this node's services."""
        own = {"HUTONG_DATA_DIR": str(self.data_dir)} | ({} if self._tls else {"HUTONG_INSECURE": "1"})
        return self.environment | own | self._variables

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this process, but of the HUTONG_ variables only the addresses of this node."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUTONG_")}
        addresses = {f"HUTONG_{service.upper()}_ADDRESS": address for service, address in self.addresses.items()}
        return inherited | addresses

    def start(self, *services: str) -> None:
        """Start services, all three by default, and wait until the health check of each is SERVING."""
        for service in services or SERVICES:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._log(service).open("ab") as log:
                self._processes[service] = self.spawn(service, self.settings, log)
        for process in services or SERVICES:
            for service in SERVICES if process == ALL else [process]:
                self._await_serving(service, process)

    def spawn(self, service: str, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the process of a service without waiting for it."""
        command = [sys.executable, "-m", "services", "serve", service]
        nothing = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdin=nothing, stdout=log, stderr=log)  # noqa: S603 - ours

    def kill(self, service: str) -> None:
        """Kill a service with SIGKILL."""
        process = self._processes.pop(service)
        process.kill()
        process.wait(_STOP_SECONDS)

    def stop(self) -> None:
        """Drain and end all running services."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_SECONDS)
        self._processes.clear()

    def pids(self) -> dict[str, int]:
        """Return the process id of each running service."""
        return {service: process.pid for service, process in self._processes.items()}

    def _await_serving(self, service: str, process: str) -> None:
        until = time.monotonic() + _START_SECONDS
        address = self.addresses[service]
        with (
            grpc.secure_channel(address, self._tls.credentials()) if self._tls else grpc.insecure_channel(address)
        ) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < until and self._processes[process].poll() is None:
                try:
                    answer = health.Check(  # type: ignore[attr-defined] # the type stubs declare no method
                        health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True
                    )
                except grpc.RpcError:
                    continue
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(0.05)
        end_of_log = self._log(process).read_text(encoding="utf-8", errors="replace")[-2000:]
        raise NotServing(f"{service} does not serve at {self.addresses[service]}:\n{end_of_log}")

    def _log(self, service: str) -> Path:
        return self.data_dir / f"{service}.log"


@contextlib.contextmanager
def running_node(
    data_dir: Path,
    addresses: Mapping[str, str] | None = None,
    services: Sequence[str] = SERVICES,
    variables: Mapping[str, str] | None = None,
    tls: Tls | None = None,
) -> Iterator[Node]:
    """Run a node, or some of its services, until the block ends. The default addresses are free loopback ports."""
    node = Node(data_dir, addresses or free_addresses(), variables, tls)
    try:
        node.start(*services)
        yield node
    finally:
        node.stop()


def free_addresses() -> dict[str, str]:
    """Choose a free loopback port for each service."""
    ports = iter(secrets.SystemRandom().sample(PORTS, len(PORTS)))
    return {service: first_free_address(ports) for service in SERVICES}


def first_free_address(ports: Iterator[int]) -> str:
    """Return the loopback address with the first free one of some ports. The ports that were tried are used up."""
    for port in ports:
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
    raise OSError("no port is free")
