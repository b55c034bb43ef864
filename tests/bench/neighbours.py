"""Measures what a gate notices of a neighbour that sends very many costly calls over one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from hutong.results.v1.results_service_pb2 import ListResultsRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from tests.bench.gates import gate_node, make_question, node_databases
from tests.bench.measure import Measurement
from tests.bench.tubes import LAB
from tests.support.databases import PostgresServer

NEIGHBOUR_CALLS = 300
"""The calls that the neighbour sends at once."""
GATE_SECONDS = 10.0
"""How long the gate asks at most, from the neighbour's first call on."""
GATE_PAUSE = 0.02
"""Seconds between two questions of the gate."""
LONGEST_SECONDS = 1.0
"""The longest that any answer to the gate may take."""


class _Neighbour(NamedTuple):
    """A kind of costly calls, and the function that makes them."""

    name: str
    calls: Any


def bench_neighbours(directory: Path, postgres: PostgresServer, persons: int) -> list[Measurement]:
    """Let each kind of neighbour call beside a gate, on both engines."""
    found = []
    for engine in ("postgresql", "sqlite"):
        place = directory / f"neighbours-{engine}"
        urls = node_databases(postgres)
        if engine == "sqlite":
            urls = {name: f"sqlite:///{place}/{name}.db" for name in urls}
        with gate_node(place, urls, persons) as node:
            for kind in _KINDS:
                slowest = asyncio.run(_ask_beside(node.results, node.verification, kind, persons))
                found.append(
                    Measurement(
                        f"slowest answer to a gate, {NEIGHBOUR_CALLS} x {kind.name}, {engine}",
                        1 / slowest,
                        f"one of {LONGEST_SECONDS:g} s",
                        1 / LONGEST_SECONDS,
                        "1/s",
                        must=1.0,
                    )
                )
    return found


def _recalls(channel: grpc.aio.Channel) -> Iterator[Any]:
    stub = ResultsAdminServiceStub(channel)
    now = int(time.time())
    whole = Interval(start_time=Timestamp(seconds=now - 86_400), end_time=Timestamp(seconds=now))
    request = RecallResultsRequest(lab=LAB, report_interval=whole, reason="bench", validate_only=True)
    return (stub.RecallResults(request) for _ in range(NEIGHBOUR_CALLS))


def _listings(channel: grpc.aio.Channel) -> Iterator[Any]:
    stub = ResultsServiceStub(channel)
    return (stub.ListResults(ListResultsRequest(lab=LAB, page_size=500)) for _ in range(NEIGHBOUR_CALLS))


_KINDS = (_Neighbour("RecallResults validate_only", _recalls), _Neighbour("ListResults of 500", _listings))


async def _ask_beside(results: str, verification: str, kind: _Neighbour, persons: int) -> float:
    """Return the longest wait of the gate, in seconds, while the neighbour's calls are under way."""
    async with grpc.aio.insecure_channel(results) as neighbours, grpc.aio.insecure_channel(verification) as gates:
        gate = VerificationServiceStub(gates)
        await gate.Verify(make_question(0))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        calling = [asyncio.ensure_future(_end_of(call)) for call in kind.calls(neighbours)]
        slowest, index = 0.0, 0
        while loop.time() - begun < GATE_SECONDS and not all(call.done() for call in calling):
            index += 1
            asked = loop.time()
            answer = await gate.Verify(make_question(index * 7919 % persons))
            slowest = max(slowest, loop.time() - asked)
            if answer.decision.outcome != DECISION_OUTCOME_RECOGNIZED:
                # An answer that says only that a source is late is no answer.
                slowest = GATE_SECONDS
            await asyncio.sleep(GATE_PAUSE)
        for call in calling:
            call.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
        return slowest


async def _end_of(call: Any) -> None:
    """Wait for the end of a call. A call that is refused must say when to try again."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
