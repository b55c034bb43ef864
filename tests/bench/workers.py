"""Measures what a second worker of Verification costs: processor time for a decision.

The cost of a decision depends on the load of the process that makes it, because look-ups that meet share a call. So two
workers are asked twice as much as one process, and each of them has the load of that process. Asked as much together as
the one process alone, they have batches half as large, which is shown too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import grpc
import psutil
from hutong.verification.v1.verification_service_pb2 import VerifyResponse

from clients.examples.node import free_addresses
from tests.bench.callers import Target, unary_rate
from tests.bench.gates import GateNode, gate_node, node_databases
from tests.bench.measure import ROUNDS, Measurement, family_of
from tests.bench.nodes import bench_variables
from tests.bench.open_loop import OK, Load, call_for
from tests.bench.verify import CALLERS, SERVICE, is_recognized
from tests.support.databases import PostgresServer

CONNECTIONS = 32
"""Connections of gates. The kernel distributes them, so that with so many each worker gets about half."""
LEAST_SHARE = 1 / 1.1
"""The least processor time of one process, as a share of that of two workers."""
LOAD_SHARE = 1 / 3
"""The load of a process as a share of the rate that one process reaches. Two workers then leave the callers and the
other services a third of two cores."""
TURN_SECONDS = 3.0
TIMEOUT_SECONDS = 10.0
"""How long a caller waits: so long that no stall of a shared machine ends a call."""


def bench_workers(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Ask one process and two workers in turns, each process at a third of the rate that the one process reaches."""
    with (
        gate_node(directory, node_databases(postgres), persons) as node,
        _group(directory, node, postgres.make("verification")) as (address, group),
    ):
        questions = node.questions(20_000)
        requests = [question.SerializeToString() for question in questions]
        method = f"{SERVICE}/Verify"
        reached = unary_rate(
            Target(node.verification, method, VerifyResponse, is_recognized), questions, TURN_SECONDS, callers=CALLERS
        )
        rate = reached * LOAD_SHARE
        alone, results = psutil.Process(node.pids["verification"]), psutil.Process(node.pids["results"])
        one, two = (
            Load(place, method, requests, CONNECTIONS, TIMEOUT_SECONDS, _is_recognized)
            for place in (node.verification, address)
        )
        for warmed in (one, two):
            call_for(TURN_SECONDS, [warmed.with_rate(rate)])
        turns = range(max(ROUNDS, round(ROUNDS * seconds / TURN_SECONDS)))
        found = [
            (
                _cpu_of_decisions(one.with_rate(rate), alone, results),
                _cpu_of_decisions(two.with_rate(2 * rate), group, results),
                _cpu_of_decisions(two.with_rate(rate), group, results),
            )
            for _ in turns
        ]
    lines = []
    for which, load, most in ((1, f"{rate:,.0f}/s each", LEAST_SHARE), (2, f"{rate / 2:,.0f}/s each", None)):
        for index, (what, must) in enumerate((("Verification", most), ("Results", None))):
            of_one, of_two = (median(turn[process][index] for turn in found) for process in (0, which))
            ratios = sorted(turn[0][index] / turn[which][index] for turn in found)
            print(f"{what}, one process against two workers at {load}: {ratios[0]:.2f} to {ratios[-1]:.2f}")
            own = f"processor time of {what} for a decision, {rate:,.0f}/s, one process"
            lines.append(Measurement(own, of_one, f"two workers, {load}", of_two, "µs", must=must))
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


def _cpu_of_decisions(load: Load, process: psutil.Process, results: psutil.Process) -> tuple[float, float]:
    """Return the processor time for a decision, in µs, of a Verification with its workers, and of Results."""
    before = _cpu(process), _cpu(results)
    ends = call_for(TURN_SECONDS, [load])
    own, of_results = _cpu(process) - before[0], _cpu(results) - before[1]
    if ends.keys() != {OK}:
        raise RuntimeError(f"questions ended so: {dict(ends)}")
    return own / ends[OK] * 1e6, of_results / ends[OK] * 1e6


def _is_recognized(message: bytes) -> bool:
    return is_recognized(VerifyResponse.FromString(message))


def _cpu(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, in seconds."""
    return float(sum(times.user + times.system for times in (one.cpu_times() for one in family_of(process))))
