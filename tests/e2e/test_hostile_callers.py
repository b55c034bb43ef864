"""Random requests of every RPC and abuse of HTTP/2: no answer is INTERNAL or UNKNOWN, and the process lives.

`make test` sends 1,500 messages. `make soak-fuzz` sends a million (HUTONG_FUZZ_FRAMES), for at most
HUTONG_FUZZ_SECONDS. A failure names the seed (HUTONG_FUZZ_SEED), which makes the same requests again.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import urllib.request
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.hostile.calls import HostileCaller
from tests.support.hostile.frames import ABUSES, Abuser
from tests.support.ports import free_address, free_addresses
from tests.support.processes import Daemon, daemon
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
FRAMES = int(os.environ.get("HUTONG_FUZZ_FRAMES", "1500"))
SECONDS = float(os.environ.get("HUTONG_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("HUTONG_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
_BROKEN_CODE = re.compile(r'grpc_server_handled_total\{.*grpc_code="(INTERNAL|UNKNOWN|DATA_LOSS)".*\} [1-9]')
SCALE = 1 if FRAMES < 100_000 else 10
"""How much more an abuse sends in a soak."""


class Victim:
    """A node in one process, and channels to its services."""

    def __init__(
        self,
        running: Daemon,
        metrics: str,
        addresses: Mapping[str, str],
        channels: Mapping[str, grpc.aio.Channel],
    ) -> None:
        self.running = running
        self._metrics = metrics
        self.addresses = addresses
        self.channels = channels

    async def is_well(self) -> bool:
        """Whether all services answer on new connections."""
        for address in self.addresses.values():
            async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
                except grpc.aio.AioRpcError:
                    return False
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    return False
        return True

    def faults(self) -> list[str]:
        """Return the metrics of answers with a code of a fault, and the log if it has an unexpected exception.

        The metrics are the server's. A client reports INTERNAL too, if its own write meets a call that has ended.
        """
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=TIMEOUT_SECONDS) as response:
            lines = response.read().decode().splitlines()
        found = [line for line in lines if _BROKEN_CODE.match(line)]
        log = self.running.log
        return found + (log[-200:] if any("Traceback" in line or '"level":"error"' in line for line in log) else [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    folder: Path = tmp_path_factory.mktemp("victim")
    addresses = free_addresses()
    metrics = free_address()
    variables = {f"{name}_address": address for name, address in addresses.items()}
    pepper = write_secret(folder / "pepper", b"p" * 32)
    with daemon(
        "serve",
        "all",
        data_dir=str(folder / "data"),
        pepper_file=str(pepper),
        jurisdiction="410000",
        log_level="warning",
        metrics_address=metrics,
        **variables,
    ) as running:
        async with contextlib.AsyncExitStack() as stack:
            channels = {
                name: await stack.enter_async_context(grpc.aio.insecure_channel(address))
                for name, address in addresses.items()
            }
            opened = Victim(running, metrics, addresses, channels)
            await until(opened.is_well)
            yield opened


async def test_random_requests_have_an_answer_of_the_contract(victim: Victim) -> None:
    caller = HostileCaller(victim.channels, SEED)
    await caller.run(FRAMES, SECONDS)
    print(f"seed {SEED}: {caller.frames} messages, {dict(caller.codes)}")
    assert not caller.faults, f"seed {SEED}:\n" + "\n".join(caller.faults)
    assert victim.running.process.poll() is None
    await until(victim.is_well)
    assert not victim.faults(), f"seed {SEED}:\n" + "\n".join(victim.faults())
    assert len(caller.codes) > 5, "too few different answers: the requests reach nothing"


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
async def test_abuse_of_http2_ends_at_its_connection(victim: Victim, abuse: object) -> None:
    """Other callers are answered, during it and after it."""
    assert callable(abuse)
    host, _, port = victim.addresses["results"].rpartition(":")
    await abuse(Abuser(host, int(port)), random.Random(SEED), SCALE)
    assert await victim.is_well()
    assert victim.running.process.poll() is None
    assert not victim.faults(), "\n".join(victim.faults())
