"""Random requests of every RPC and abuse of HTTP/2: no answer is INTERNAL or UNKNOWN, and the process lives.

`make test` sends 1,500 messages. `make soak-fuzz` sends a million (HUTONG_FUZZ_FRAMES), for at most
HUTONG_FUZZ_SECONDS. A failure names the seed (HUTONG_FUZZ_SEED), which makes the same requests again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import psutil
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients.examples.node import SERVICES
from tests.support.databases import PostgresServer
from tests.support.hostile.calls import RPCS, call_at_random
from tests.support.hostile.frames import ABUSES, Abuse, Abuser
from tests.support.ports import free_address, free_addresses
from tests.support.processes import Daemon, daemon
from tests.support.secrets import write_secret
from tests.support.servers import new_channel
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
MESSAGES = int(os.environ.get("HUTONG_FUZZ_FRAMES", "1500"))
SECONDS = float(os.environ.get("HUTONG_FUZZ_SECONDS", "600"))
SEED = int(os.environ.get("HUTONG_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
IS_SOAK = MESSAGES >= 100_000
SCALE = 10 if IS_SOAK else 1
"""How much more an abuse sends in a soak."""
PROCESSES = 2 if IS_SOAK else 0
"""Processes that call; 0 lets this process call. One process could not keep two servers busy."""
LINES_OF_TRACEBACK = 60
"""How many lines of the log a failure shows from the beginning of a traceback on."""
_BROKEN_CODE = re.compile(r'grpc_server_handled_total\{.*grpc_code="(Internal|Unknown|DataLoss)".*\} [1-9]')


class Victim:
    """A node in one process.

    Attributes:
        addresses: the addresses of its services.
    """

    def __init__(self, running: Daemon, metrics: str, addresses: Mapping[str, str]) -> None:
        self.running = running
        self._metrics = metrics
        self.addresses = addresses

    async def is_well(self) -> bool:
        """Whether all services answer on new connections."""
        for address in self.addresses.values():
            async with new_channel(address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
                except grpc.aio.AioRpcError:
                    return False
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    return False
        return True

    def faults(self) -> list[str]:
        """Return the metrics of answers with a code of a fault, and the lines of the log with an unexpected exception.

        The metrics are the server's. A client reports INTERNAL too, if its own write meets a call that has ended. Other
        errors in the log are about what a node below has sent.
        """
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=TIMEOUT_SECONDS) as response:
            lines = response.read().decode().splitlines()
        found = [line for line in lines if _BROKEN_CODE.match(line)]
        log = list(self.running.log)
        for at, line in enumerate(log):
            if "Traceback" in line:
                # The line before may say where the exception came from, such as "Exception ignored in".
                found.append("".join(log[max(at - 1, 0) : at + LINES_OF_TRACEBACK]))
            elif '"exception"' in line:
                found.append(line)
        return found

    def memory(self) -> float:
        """Return the resident memory of its process in MiB."""
        resident: int = psutil.Process(self.running.process.pid).memory_info().rss
        return resident / 1024**2

    async def require_well(self) -> None:
        """Fail the test if the process has ended, a service does not answer, or an answer meant a fault."""
        assert self.running.process.poll() is None
        await until(self.is_well)
        assert not self.faults(), f"seed {SEED}:\n" + "\n".join(self.faults())


@contextlib.contextmanager
def open_victim(folder: Path, jurisdiction: str, **variables: str) -> Iterator[Victim]:
    """Run a node. Both nodes have one pepper."""
    addresses, metrics = free_addresses(), free_address()
    with daemon(
        "serve",
        "all",
        data_dir=str(folder / "data"),
        pepper_file=str(write_secret(folder / "pepper", b"p" * 32)),
        jurisdiction=jurisdiction,
        log_level="warning",
        metrics_address=metrics,
        **{f"{name}_address": address for name, address in addresses.items()},
        **variables,
    ) as running:
        yield Victim(running, metrics, addresses)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victims(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Sequence[Victim]]:
    """A province on SQLite. A soak has its nation too, on PostgreSQL."""
    with contextlib.ExitStack() as stack:
        opened: list[Victim] = []
        joined: dict[str, str] = {}
        if IS_SOAK:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            urls = {f"{service}_database_url": server.make(service) for service in SERVICES}
            nation = open_victim(tmp_path_factory.mktemp("nation"), "000000", **urls)
            opened.append(stack.enter_context(nation))
            at = opened[0].addresses
            joined = {"upstream": at["results"], "upstream_policy": at["policy"]}
            await until(opened[0].is_well)
        opened.append(stack.enter_context(open_victim(tmp_path_factory.mktemp("province"), "410000", **joined)))
        await until(opened[-1].is_well)
        yield opened


async def test_random_requests_have_an_answer_of_the_contract(victims: Sequence[Victim]) -> None:
    """In a soak, connections are abused at the same time."""
    sizes = [[victim.memory() for victim in victims]]
    abuse = asyncio.create_task(abuse_on(victims, sizes)) if IS_SOAK else None
    addresses = [victim.addresses for victim in victims]
    report = await call_at_random(addresses, SEED, MESSAGES, SECONDS, PROCESSES)
    if abuse is not None:
        abuse.cancel()
        await asyncio.wait([abuse])
    sizes.append([victim.memory() for victim in victims])
    print("\n".join(report.lines()))
    print(f"seed {SEED}: {report.total:,} messages in {report.seconds:.0f} s, {dict(report.all_codes())}")
    for victim, each in zip(victims, zip(*sizes, strict=True), strict=True):
        rounded = [round(size) for size in each]
        print(f"memory of {victim.addresses['results']} after each round of abuse, in MiB: {rounded}")
    assert not report.faults, f"seed {SEED}:\n" + "\n".join(report.faults)
    for victim in victims:
        await victim.require_well()
    assert report.total >= MESSAGES, f"{SECONDS} seconds were too short"
    # In a short run, the few calls of one RPC may all end at their deadlines.
    assert not IS_SOAK or not report.not_reached(rpc.full_name for rpc in RPCS)
    assert len(report.all_codes()) > 5, "too few different answers: the requests reach nothing"


async def abuse_on(victims: Sequence[Victim], sizes: list[list[float]]) -> None:
    """Abuse the connections of all services in turn until cancelled. Note the memory of the nodes after each round."""
    rng = random.Random(SEED)
    sent = 0
    try:
        while True:
            for victim in victims:
                for address in victim.addresses.values():
                    sent += await abuse_once(rng.choice(ABUSES), address, rng)
            sizes.append([victim.memory() for victim in victims])
    finally:
        print(f"{sent:,} frames of abuse at the same time")


async def abuse_once(abuse: Abuse, address: str, rng: random.Random) -> int:
    """Abuse the connections of one service. Return how many frames were sent."""
    host, _, port = address.rpartition(":")
    abuser = Abuser(host, int(port))
    await abuse(abuser, rng, SCALE)
    return abuser.sent


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
async def test_abuse_of_http2_ends_at_its_connection(victims: Sequence[Victim], abuse: Abuse) -> None:
    """Other callers are answered after it."""
    for victim in victims:
        sent = await abuse_once(abuse, victim.addresses["results"], random.Random(SEED))
        print(f"{abuse.__name__}: {sent:,} frames")
        await victim.require_well()
