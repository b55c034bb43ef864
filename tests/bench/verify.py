"""Measures decisions through all three services on PostgreSQL: one at a time, in batches, and on gates' streams."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil
import psycopg
from google.protobuf.message import Message
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyResponse,
)
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from services.results.records.queries import COLUMNS
from tests.bench import echo
from tests.bench.callers import Target, latencies, stream_rate, unary_rate
from tests.bench.gates import GateNode, gate_node, node_databases
from tests.bench.measure import ROUNDS, Measurement, in_turns, p99
from tests.support.databases import PostgresServer
from tests.support.servers import new_channel

SERVICE = "/hutong.verification.v1.VerificationService"
VERIFY_SHARE, BATCH_SHARE, STREAM_SHARE = 0.55, 0.30, 0.60
"""The least rates of Verify, BatchVerify and StreamVerify, as shares of the rates with which they are compared."""
LONE_TIMES = 4.0
"""The longest median time of a lone Verify, as a multiple of the median time of a lone echo."""
HALF_LOAD_P50_TIMES, HALF_LOAD_P99_TIMES = 4.0, 3.0
"""The longest median and 99th percentile of Verify at half of its rate.

They are multiples of those of an echo at half of the echo's rate."""
LONE_RATE = 60.0
"""Lone calls a second. A call begins 17 ms after the previous call, which has ended by then."""
CALLERS = 128
"""Calls under way at once, as from the gates of a busy site. They are enough for look-ups to share batches."""
BATCH = 500
BATCHES_AHEAD = 4
STREAMS = 64
QUESTIONS_AHEAD = 8
"""Questions under way on one stream."""
IDLE_STREAMS = 5_000
STREAMS_PER_CONNECTION = 50


def bench_verify(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Measure every RPC that makes decisions, each against its own limit."""
    with gate_node(directory, node_databases(postgres), persons) as node:
        return [
            *_unary(node, seconds),
            _batches(node, seconds),
            _streams(node, seconds),
            _idle_streams(node),
        ]


def _unary(node: GateNode, seconds: float) -> list[Measurement]:
    questions = node.questions(20_000)
    verify = Target(node.verification, f"{SERVICE}/Verify", VerifyResponse, is_recognized)
    with echo.echo_server(questions[0], node.response) as address:
        bare = Target(address, echo.CALL, VerifyResponse)
        rate, limit = in_turns(
            seconds, *(partial(unary_rate, one, questions, callers=CALLERS) for one in (verify, bare))
        )
        lone = _times(verify, bare, questions, seconds, (LONE_RATE, LONE_RATE))
        half = _times(verify, bare, questions, seconds, (rate / 2, limit / 2))
    return [
        Measurement("Verify, unary, PostgreSQL", rate, "bare echo", limit, "calls/s", must=VERIFY_SHARE),
        _shortness("p50 of a call that comes alone", lone.p50, LONE_TIMES),
        _shortness("p50 at half of the rate", half.p50, HALF_LOAD_P50_TIMES),
        _shortness("p99 at half of the rate", half.p99, HALF_LOAD_P99_TIMES),
    ]


class _Times(NamedTuple):
    """Times of a Verify and of an echo, in milliseconds."""

    p50: tuple[float, float]
    p99: tuple[float, float]


def _times(
    verify: Target, bare: Target, questions: Sequence[Message], seconds: float, rates: tuple[float, float]
) -> _Times:
    """Measure in turns how long a Verify and an echo take, each at its own rate."""

    def taken(target: Target, rate: float) -> tuple[float, float]:
        turn = latencies(target, questions, seconds, rate)
        return median(turn) * 1_000, p99(turn) * 1_000

    turns = [(taken(verify, rates[0]), taken(bare, rates[1])) for _ in range(ROUNDS)]
    p50, p99_ = ((median(of[0][at] for of in turns), median(of[1][at] for of in turns)) for at in (0, 1))
    return _Times(p50, p99_)


def _shortness(what: str, taken: tuple[float, float], most_times: float) -> Measurement:
    """Return the row for two times.

    The time of the echo is divided by the time of Verify, so that a greater quotient is better, as in every row.
    """
    verify, bare = taken
    return Measurement(f"  bare echo, {what}", bare, "Verify", verify, "ms", must=1 / most_times)


def _batches(node: GateNode, seconds: float) -> Measurement:
    questions = node.questions(20 * BATCH)
    batches = [
        BatchVerifyRequest(requests=questions[start : start + BATCH]) for start in range(0, len(questions), BATCH)
    ]
    target = Target(
        node.verification,
        f"{SERVICE}/BatchVerify",
        BatchVerifyResponse,
        is_batch_recognized,
    )
    rate, limit = in_turns(
        seconds,
        lambda turn: unary_rate(target, batches, turn, BATCHES_AHEAD) * BATCH,
        partial(_raw_look_ups, node.urls["results"]),
    )
    return Measurement("BatchVerify of 500", rate, "raw = ANY(500)", limit, "persons/s", must=BATCH_SHARE)


def is_recognized(answer: Any) -> bool:
    """Return whether an answer is what every question of the bench ought to get."""
    return bool(answer.decision.outcome == DECISION_OUTCOME_RECOGNIZED)


def is_batch_recognized(answer: Any) -> bool:
    """Return whether all answers of a batch are as they ought to be."""
    return all(map(is_recognized, answer.items))


def _raw_look_ups(url: str, seconds: float) -> float:
    """Return for how many persons a second one connection reads results, by 500 subject keys at a time."""
    names = ", ".join(column.name for column in COLUMNS)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        keys = [key for (key,) in connection.execute("SELECT DISTINCT subject_key FROM results")]
        random.Random(81).shuffle(keys)
        batches = [keys[start : start + BATCH] for start in range(0, len(keys) - BATCH + 1, BATCH)]
        begun, count = time.perf_counter(), 0
        while time.perf_counter() < begun + seconds:
            batch = batches[count % len(batches)]
            rows = connection.execute(f"SELECT {names} FROM results WHERE subject_key = ANY(%s)", (batch,)).fetchall()
            assert len(rows) >= BATCH
            count += 1
        return count * BATCH / (time.perf_counter() - begun)


def _streams(node: GateNode, seconds: float) -> Measurement:
    questions = [
        StreamVerifyRequest(correlation_id=str(index), request=request)
        for index, request in enumerate(node.questions(20_000))
    ]
    answer = StreamVerifyResponse(correlation_id="10000", decision=node.response.decision)
    target = Target(node.verification, f"{SERVICE}/StreamVerify", StreamVerifyResponse, is_recognized)
    with echo.echo_server(questions[0], answer) as address:
        bare = Target(address, echo.STREAM, StreamVerifyResponse)
        rate, limit = in_turns(
            seconds,
            *(partial(stream_rate, one, questions, streams=STREAMS, ahead=QUESTIONS_AHEAD) for one in (target, bare)),
        )
    return Measurement("StreamVerify, 64 gates", rate, "bare bidi echo", limit, "answers/s", must=STREAM_SHARE)


def _idle_streams(node: GateNode) -> Measurement:
    """Measure how many open streams are still answered when each asks again after all others have."""
    held, kibibytes = asyncio.run(_hold_streams(node))
    return Measurement(
        f"StreamVerify, idle streams ({kibibytes:.0f} KiB each)", held, "gates", IDLE_STREAMS, "streams", must=1
    )


async def _hold_streams(node: GateNode) -> tuple[int, float]:
    question = StreamVerifyRequest(correlation_id="idle", request=node.questions(1)[0])
    process = psutil.Process(node.pids["verification"])
    async with contextlib.AsyncExitStack() as channels:
        stubs = [
            VerificationServiceStub(await channels.enter_async_context(new_channel(node.verification)))
            for _ in range(IDLE_STREAMS // STREAMS_PER_CONNECTION)
        ]
        before = process.memory_info().rss
        # The streams are opened connection by connection, because at most 2,000 calls of a method may wait.
        groups: list[list[Any]] = []
        answered = 0
        for is_first in (True, False):
            answered = 0
            for index, stub in enumerate(stubs):
                if is_first:
                    groups.append([stub.StreamVerify() for _ in range(STREAMS_PER_CONNECTION)])
                some = groups[index]
                await asyncio.gather(*(stream.write(question) for stream in some))
                answers = await asyncio.gather(*(stream.read() for stream in some))
                answered += sum(map(is_recognized, answers))
        kibibytes = (process.memory_info().rss - before) / 1024 / IDLE_STREAMS
        for stream in chain.from_iterable(groups):
            stream.cancel()
        return answered, kibibytes
