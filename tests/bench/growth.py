"""`make soak-memory`: an idle hour and half load, after which no process may hold more than after its tenth minute.

The idle hour is scaled up: the health checks of an hour are made one after the other. The half load lasts as long as
HUTONG_SOAK_SECONDS says. Both print the resident memory, and fail if it has grown by more than 2 MiB.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from hutong.verification.v1.verification_service_pb2 import VerifyResponse

from services.policy.main import open_policy
from services.results.main import open_results
from services.runtime.configuration.settings import Settings
from services.runtime.logs import configure_logs
from services.runtime.tuning import freeze_heap
from services.verification.main import open_verification
from tests.bench.callers import Target, latencies, unary_rate
from tests.bench.gates import gate_node, node_databases
from tests.bench.verify import CALLERS, SERVICE, is_recognized
from tests.support.databases import PostgresServer
from tests.support.guard import guarded

GROWTH_MIB = 2.0
"""The most by which memory may grow from the tenth minute to the end of the hour."""
TENTH_MINUTE = 600
HOUR = 3_600
"""Health checks are made once a second, so these are also their numbers."""
PERSONS = 20_000
SAMPLE_SECONDS = 10.0


def resident(process: psutil.Process) -> float:
    """Return the resident memory of a process in MiB."""
    return float(process.memory_info().rss / 2**20)


async def idle_hour(directory: Path) -> float:
    """Make the health checks of an hour at all three services on SQLite. Return the growth of memory in MiB."""
    environment = {"HUTONG_DATA_DIR": str(directory), "HUTONG_INSECURE": "1", "HUTONG_UPLOAD_WORKERS": "0"}
    settings = Settings.from_environment(environment)
    services = [await open_(settings) for open_ in (open_results, open_policy, open_verification)]
    process = psutil.Process()
    try:
        freeze_heap()
        for _ in range(TENTH_MINUTE):
            for service in services:
                await service.check()
        before = resident(process)
        for _ in range(HOUR - TENTH_MINUTE):
            for service in services:
                await service.check()
        after = resident(process)
    finally:
        for service in services:
            await service.close()
    print(f"idle hour: {before:.1f} MiB after the tenth minute, {after:.1f} MiB at the end")
    return after - before


@contextmanager
def _sampled(processes: Mapping[str, psutil.Process], samples: list[dict[str, float]]) -> Iterator[None]:
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            samples.append({name: resident(process) for name, process in processes.items()})

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield
    finally:
        done.set()
        sampler.join()


def half_load(directory: Path, postgres: PostgresServer, seconds: float) -> float:
    """Ask at half of the rate reached. Return the growth of the process that grew most, in MiB, after a sixth."""
    with gate_node(directory, node_databases(postgres), PERSONS) as node:
        questions = node.questions(PERSONS)
        verify = Target(node.verification, f"{SERVICE}/Verify", VerifyResponse, is_recognized)
        rate = unary_rate(verify, questions, 10.0, callers=CALLERS) / 2
        processes = {name: psutil.Process(pid) for name, pid in node.pids.items()}
        samples: list[dict[str, float]] = []
        begun = time.monotonic()
        with _sampled(processes, samples):
            latencies(verify, questions, seconds, rate)
        print(f"half load: {rate:,.0f} calls/s for {time.monotonic() - begun:,.0f} s")
    growth = 0.0
    for name in processes:
        # The median of three samples, because an allocator gives memory back in steps.
        before, after = (
            sorted(sample[name] for sample in samples[at : at + 3])[1] for at in (len(samples) // 6, len(samples) - 3)
        )
        print(f"  {name}: {before:.1f} MiB after a sixth, {after:.1f} MiB at the end")
        growth = max(growth, after - before)
    return growth


def main() -> int:
    """Run both. Return 1 if memory has grown by more than GROWTH_MIB."""
    configure_logs("warning")
    seconds = float(os.environ.get("HUTONG_SOAK_SECONDS", "2400"))
    with guarded(), tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        grown = [asyncio.run(idle_hour(directory / "idle"))]
        postgres = PostgresServer(directory / "postgresql")
        try:
            grown.append(half_load(directory, postgres, seconds))
        finally:
            postgres.stop()
    return int(max(grown) > GROWTH_MIB)


if __name__ == "__main__":
    sys.exit(main())
