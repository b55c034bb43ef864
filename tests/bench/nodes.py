"""Service processes for benches, started by `hutongd` as an operator would, on free ports of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 30


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def service_processes(names: list[str], directory: Path, urls: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run services, one process each, until the block ends; yields their addresses by name."""
    directory.mkdir(parents=True, exist_ok=True)
    pepper = directory / "bench-pepper"
    pepper.write_bytes(b"b" * 32)
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("results", "policy", "verification")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUTONG_")}
    environment |= {
        "HUTONG_DATA_DIR": str(directory),
        "HUTONG_PEPPER_FILE": str(pepper),
        "HUTONG_JURISDICTION": "410000",
        **{f"HUTONG_{name.upper()}_ADDRESS": address for name, address in addresses.items()},
        **{f"HUTONG_{name.upper()}_DATABASE_URL": url for name, url in urls.items()},
    }
    with ExitStack() as stack:
        for name in names:
            log = stack.enter_context(open(directory / f"{name}.log", "wb"))
            process = subprocess.Popen([sys.executable, "-m", "services", "serve", name], env=environment, stderr=log)
            stack.callback(_stop, process)
        for name in names:
            wait_until_serving(addresses[name])
        yield addresses


def wait_until_serving(address: str) -> None:
    """Wait until the service's own health says it serves."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        for response in stub.Watch(request, wait_for_ready=True, timeout=START_SECONDS):
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                return


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
