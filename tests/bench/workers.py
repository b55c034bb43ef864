"""Measures what a second worker of Verification costs: processor time for a decision, at equal load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import grpc
import psutil
from hutong.verification.v1.verification_service_pb2 import VerifyRequest, VerifyResponse

from clients.examples.node import free_addresses
from tests.bench.callers import Target, unary_rate
from tests.bench.gates import GateNode, gate_node, node_databases
from tests.bench.measure import ROUNDS, Measurement
from tests.bench.nodes import bench_variables
from tests.bench.verify import CALLERS, SERVICE, is_recognized
from tests.support.databases import PostgresServer
from tests.support.servers import new_channel

CONNECTIONS = 32
"""Connections of gates. The kernel distributes them, so that with so many each worker gets about half."""
LEAST_SHARE = 1 / 1.1
"""The least processor time of one process, as a share of that of two workers."""
TURN_SECONDS = 3.0


def bench_workers(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Ask one process and two workers in turns, both at half of the rate that the one process reaches."""
    with (
        gate_node(directory, node_databases(postgres), persons) as node,
        _group(directory, node, postgres.make("verification")) as (address, group),
    ):
        questions = node.questions(20_000)
        one, two = (
            Target(place, f"{SERVICE}/Verify", VerifyResponse, is_recognized) for place in (node.verification, address)
        )
        rate = unary_rate(one, questions, TURN_SECONDS, callers=CALLERS) / 2
        alone, results = psutil.Process(node.pids["verification"]), psutil.Process(node.pids["results"])
        measure = partial(_cpu_of_decisions, questions=questions, rate=rate, results=results)
        turns = range(max(ROUNDS, round(ROUNDS * seconds / TURN_SECONDS)))
        found = [(measure(one, alone), measure(two, group)) for _ in turns]
    lines = []
    for index, (what, must) in enumerate((("Verification", LEAST_SHARE), ("Results", None))):
        of_one, of_two = (median(turn[which][index] for turn in found) for which in (0, 1))
        ratios = sorted(turn[0][index] / turn[1][index] for turn in found)
        print(f"processor time of {what}, one process against two workers: {ratios[0]:.2f} to {ratios[-1]:.2f}")
        own = f"processor time of {what} for a decision, {rate:,.0f}/s, one process"
        lines.append(Measurement(own, of_one, "two workers", of_two, "µs", must=must))
    return lines


@contextmanager
def _group(directory: Path, node: GateNode, url: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run two workers of Verification beside a node. Yield their address and their parent."""
    address = free_addresses()["verification"]
    environment = bench_variables(directory / "node-gates") | {
        "HUTONG_RESULTS_ADDRESS": node.results,
        "HUTONG_POLICY_ADDRESS": node.policy,
        "HUTONG_VERIFICATION_ADDRESS": address,
        "HUTONG_VERIFICATION_DATABASE_URL": url,
        "HUTONG_VERIFICATION_WORKERS": "2",
    }
    with (directory / "workers.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services", "serve", "verification"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(60)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _cpu_of_decisions(
    target: Target, process: psutil.Process, questions: Sequence[VerifyRequest], rate: float, results: psutil.Process
) -> tuple[float, float]:
    """Return the processor time for a decision, in µs, of a Verification with its workers, and of Results."""
    before = _cpu(process), _cpu(results)
    count = asyncio.run(_ask(target, questions, rate))
    own, of_results = _cpu(process) - before[0], _cpu(results) - before[1]
    return own / count * 1e6, of_results / count * 1e6


def _cpu(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, in seconds."""
    family = [process, *process.children(recursive=True)]
    return float(sum(times.user + times.system for times in (one.cpu_times() for one in family)))


async def _ask(target: Target, questions: Sequence[VerifyRequest], rate: float) -> int:
    """Ask evenly at a rate, over many connections in turn. Return the number of answers."""
    async with contextlib.AsyncExitStack() as opened:
        channels = [await opened.enter_async_context(new_channel(target.address)) for _ in range(CONNECTIONS)]
        calls = itertools.cycle(
            channel.unary_unary(
                target.method,
                request_serializer=VerifyRequest.SerializeToString,
                response_deserializer=target.response_type.FromString,
            )
            for channel in channels
        )
        loop = asyncio.get_running_loop()
        begun = loop.time()
        count = round(rate * TURN_SECONDS)

        async def ask(index: int) -> None:
            await asyncio.sleep(begun + index / rate - loop.time())
            target.demand(await next(calls)(questions[index % len(questions)]))

        await asyncio.gather(*(ask(index) for index in range(count)))
        return count
