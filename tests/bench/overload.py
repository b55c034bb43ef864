"""Measures what Verification still answers when callers ask for several times as much as it can do."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED
from hutong.verification.v1.verification_service_pb2 import VerifyResponse
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from tests.bench.gates import GateNode, gate_node, make_question, node_databases
from tests.bench.measure import ROUNDS, Measurement
from tests.bench.open_loop import EXHAUSTED, HELD, NOT_SENT, OK, SENT_LATE, Load, call_for
from tests.support.databases import PostgresServer

FACTORS = ((2, False), (4, False), (10, False), (10, True))
"""How many times the capacity is offered, and whether callers hold calls back as our client library does."""
PROCESSES, CONNECTIONS = 2, 16
"""The processes of callers, and the connections of each."""
IN_FLIGHT = 64
"""Calls under way for each process when the capacity is measured: 128 together, as in the other rows of Verify."""
TIMEOUT_SECONDS = 2.0
"""How long a caller waits for an answer."""
GOODPUT = 0.7
"""The least share of the capacity that is still answered well and in time."""
HEALTH_SECONDS, RECOVERY_SECONDS, NORMAL_SECONDS = 1.0, 5.0, 0.2
"""The slowest health check, the time until the service is normal again, and the slowest answer that is normal."""
MEMORY = 1 / 1.2
"""The least ratio of the memory before the overload to the memory afterwards."""
_METHOD = "/hutong.verification.v1.VerificationService/Verify"
_PAUSE_SECONDS = 0.05


@dataclass
class _Seen:
    """What was measured at one factor, by round."""

    goodput: list[float] = field(default_factory=list)
    capacity: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    recovery: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)


def bench_overload(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Offer 2, 4 and 10 times the capacity, each in turn with a measurement of the capacity."""
    with gate_node(directory / "overload", node_databases(postgres), persons) as node:
        requests = [question.SerializeToString() for question in node.questions(1_000)]
        load = Load(node.verification, _METHOD, requests, CONNECTIONS, TIMEOUT_SECONDS, _is_recognized)
        call_for(seconds, [load.with_calls(IN_FLIGHT)] * PROCESSES)
        process = psutil.Process(node.pids["verification"])
        before = process.memory_info().rss / 2**20
        seen = {factor: _Seen() for factor in FACTORS}
        for _ in range(ROUNDS):
            for (factor, holds_back), found in seen.items():
                _overload(node, load, factor, seconds, found, holds_back=holds_back)
        after = _memory_after(process, before)
    lines = [line for offered, found in seen.items() for line in _lines(*offered, found)]
    return [*lines, Measurement("memory before overload", before, "afterwards", after, "MiB", MEMORY)]


def _overload(node: GateNode, load: Load, factor: int, seconds: float, found: _Seen, *, holds_back: bool) -> None:
    capacity = call_for(seconds, [load.with_calls(IN_FLIGHT)] * PROCESSES)[OK] / seconds
    with _watched_health(node.verification) as slowest:
        ends = call_for(seconds, [load.with_rate(factor * capacity / PROCESSES, holds_back=holds_back)] * PROCESSES)
    found.recovery.append(_seconds_until_normal(node.verification))
    found.capacity.append(capacity)
    found.goodput.append(ends[OK] / seconds)
    found.health.append(slowest[0])
    found.ends.update(ends)


def _lines(factor: int, holds_back: bool, found: _Seen) -> Iterator[Measurement]:
    name = f"at {factor} x capacity{', callers that hold back' * holds_back}"
    counts = found.ends
    print(f"{name}: calls by end {dict(counts)}; goodput by round {[round(one) for one in found.goodput]}")
    ratio = statistics.median(good / most for good, most in zip(found.goodput, found.capacity, strict=True))
    capacity = statistics.median(found.capacity)
    yield Measurement(f"good answers {name}", ratio * capacity, "capacity", capacity, "1/s", GOODPUT)
    # The server did not refuse a call that spent most of its time at its caller.
    refused = counts.total() - counts[OK] - counts[NOT_SENT] - counts[SENT_LATE] - counts[HELD]
    if refused:
        clean = 100 * counts[EXHAUSTED] / refused
        yield Measurement(f"refusals with RetryInfo {name}", clean, "all that were not answered", 100, "%")
    # These two are the inverses of times, so that more is better in each row.
    slowest, recovery = max(found.health), statistics.median(found.recovery)
    yield Measurement(
        f"slowest health check {name}", 1 / slowest, f"one of {HEALTH_SECONDS:g} s", 1 / HEALTH_SECONDS, "1/s", 1.0
    )
    yield Measurement(
        f"normal again after {name}", 1 / recovery, f"one of {RECOVERY_SECONDS:g} s", 1 / RECOVERY_SECONDS, "1/s", 1.0
    )


@contextmanager
def _watched_health(address: str) -> Iterator[list[float]]:
    """Check health again and again until the block ends. Yields a list with the seconds of the slowest check."""
    slowest, done = [0.0], threading.Event()
    with grpc.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)

        def check() -> None:
            while not done.wait(_PAUSE_SECONDS):
                begun = time.perf_counter()
                health.Check(health_pb2.HealthCheckRequest(), timeout=60)
                slowest[0] = max(slowest[0], time.perf_counter() - begun)

        watcher = threading.Thread(target=check)
        watcher.start()
        try:
            yield slowest
        finally:
            done.set()
            watcher.join()


def _memory_after(process: psutil.Process, before: float) -> float:
    """Wait until the memory is back, at most RECOVERY_SECONDS. Return the memory in MiB."""
    begun = time.perf_counter()
    while True:
        now = process.memory_info().rss / 2**20
        if now * MEMORY <= before or time.perf_counter() - begun > RECOVERY_SECONDS:
            return now
        time.sleep(_PAUSE_SECONDS)


def _seconds_until_normal(address: str) -> float:
    """Return the seconds until a gate has a good answer without delay."""
    begun = time.perf_counter()
    with grpc.insecure_channel(address) as channel:
        gate = VerificationServiceStub(channel)
        while True:
            asked = time.perf_counter()
            try:
                answer = gate.Verify(make_question(1), timeout=TIMEOUT_SECONDS)
            except grpc.RpcError:
                time.sleep(_PAUSE_SECONDS)
                continue
            answered = time.perf_counter()
            if answered - asked < NORMAL_SECONDS and answer.decision.outcome == DECISION_OUTCOME_RECOGNIZED:
                return answered - begun


def _is_recognized(message: bytes) -> bool:
    return VerifyResponse.FromString(message).decision.outcome == DECISION_OUTCOME_RECOGNIZED
