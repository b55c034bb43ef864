"""Measures what other callers notice of one laboratory that is stuck in a resend loop and ignores every error."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import grpc
from hutong.results.v1 import lab_pb2, upload_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from tests.bench.measure import Measurement, p99, usual_p99
from tests.bench.nodes import bench_node
from tests.bench.tubes import LAB, make_tubes
from tests.support.databases import PostgresServer

OTHER_LAB = "labs/91410100MA0000001X"
LOOP_PERSONS = 20_000
LOOP_STREAMS = 4
BATCH_PERSONS = 100
BATCHES_PER_SECOND = 10
LOOKUPS_PER_SECOND = 100
"""The load of the others is far below the capacity of the service, so that delays come from the loop."""
FAIR = 1 / 1.5
"""The ratio wanted: the others' 99th percentile may grow by half."""
SLOWED_WITHIN = 120.0
"""Seconds in which the loop must have used up its quota of duplicates."""


TURNS = 6
"""How often the loop is paused and resumed."""


class LoopEvents(NamedTuple):
    """The events shared with the loop's process.

    `go` is set while the loop may send. `stop` ends it. The loop sets `slowed` when it is first refused.
    """

    go: Event
    stop: Event
    slowed: Event


@dataclass
class Taken:
    """The seconds that calls took, counted from when they were due."""

    uploads: list[float] = field(default_factory=list)
    lookups: list[float] = field(default_factory=list)


def bench_fairness(directory: Path, postgres: PostgresServer, seconds: float) -> list[Measurement]:
    """Compare the others' 99th percentile beside a slowed loop with that without the loop.

    Both are measured alternately, because the speed of a machine changes.
    """
    with bench_node(directory / "node-fairness", {"results": postgres.make("results")}) as addresses:
        address = addresses["results"]
        with grpc.insecure_channel(address) as channel:
            for name in (LAB, OTHER_LAB):
                lab = lab_pb2.Lab(name=name, display_name="bench", region="220500")
                LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
        others = Others(address)
        burst, alone, beside = Taken(), [], []
        others.work(2.0, Taken())
        context = multiprocessing.get_context("spawn")
        loop_events = LoopEvents(context.Event(), context.Event(), context.Event())
        loop_events.go.set()
        loop = context.Process(target=resend, args=(address, loop_events))
        loop.start()
        begun = time.monotonic()
        while not loop_events.slowed.is_set():
            others.work(1.0, burst)
            assert time.monotonic() - begun < SLOWED_WITHIN, "the loop was never slowed"
        used_up = time.monotonic() - begun
        for _ in range(TURNS):
            for switch, turns in ((loop_events.go.clear, alone), (loop_events.go.set, beside)):
                switch()
                others.work(1.0, Taken())
                turns.append(Taken())
                others.work(2 * seconds / TURNS, turns[-1])
        loop_events.stop.set()
        loop.join()
    print(
        f"fairness: the loop was slowed after {used_up:.0f} s; until then the others' p99 was"
        f" {p99(burst.uploads) * 1000:.0f} ms for a batch and {p99(burst.lookups) * 1000:.0f} ms for a look-up"
    )
    return [
        Measurement(f"others' {what} beside a loop", 1 / slow, f"alone ({FAIR:.2f} wanted)", 1 / quick, "1/p99")
        for what, slow, quick in (
            ("batches", usual_p99(turn.uploads for turn in beside), usual_p99(turn.uploads for turn in alone)),
            ("look-ups", usual_p99(turn.lookups for turn in beside), usual_p99(turn.lookups for turn in alone)),
        )
    ]


class Others:
    """A second laboratory that uploads new results, and health codes that look up results, both at a steady rate."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._first = 1_000_000
        self._uploads = 0
        self._documents = [person.document for tube in make_tubes(500, first=self._first) for person in tube.persons]

    def work(self, seconds: float, taken: Taken) -> None:
        """Send for `seconds` seconds. Messages are made before, so that making them is not measured."""
        batches = []
        for index in range(round(BATCHES_PER_SECOND * seconds)):
            tubes = make_tubes(BATCH_PERSONS, first=self._first)
            self._first += BATCH_PERSONS
            batches.append(upload_pb2.TubeBatch(offset=index * len(tubes), tubes=tubes))
        asyncio.run(self._work(batches, seconds, taken))

    async def _work(self, batches: list[upload_pb2.TubeBatch], seconds: float, taken: Taken) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            await asyncio.wait_for(channel.channel_ready(), SLOWED_WITHIN)
            await asyncio.gather(self._upload(channel, batches, taken), self._look_up(channel, seconds, taken))

    async def _upload(self, channel: grpc.aio.Channel, batches: list[upload_pb2.TubeBatch], taken: Taken) -> None:
        self._uploads += 1
        call = UploadServiceStub(channel).UploadResults()
        start = upload_pb2.UploadStart(lab=OTHER_LAB, upload_id=f"steady-{self._uploads}")
        await call.write(UploadResultsRequest(start=start))
        rest = iter(batches)

        async def send(due: float) -> None:
            await call.write(UploadResultsRequest(batch=next(rest)))
            answer = await call.read()
            assert answer.accepted_count == BATCH_PERSONS
            taken.uploads.append(time.perf_counter() - due)

        await at_pace(BATCHES_PER_SECOND, len(batches), send)
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF

    async def _look_up(self, channel: grpc.aio.Channel, seconds: float, taken: Taken) -> None:
        results = ResultsServiceStub(channel)
        documents = itertools.cycle(self._documents)

        async def ask(due: float) -> None:
            await results.LookupLatest(LookupLatestRequest(document=next(documents)))
            taken.lookups.append(time.perf_counter() - due)

        under_way: list[asyncio.Future[None]] = []

        async def begin(due: float) -> None:
            under_way.append(asyncio.ensure_future(ask(due)))

        # A look-up begins when it is due even if earlier ones are not answered, because persons arrive independently.
        await at_pace(LOOKUPS_PER_SECOND, round(LOOKUPS_PER_SECOND * seconds), begin)
        await asyncio.gather(*under_way)


async def at_pace(rate: float, count: int, act: Callable[[float], asyncio.Future[None]]) -> None:
    """Run `act` `count` times at a rate, one at a time. A late run begins at once and is timed from when it was due."""
    begun = time.perf_counter()
    for index in range(count):
        due = begun + index / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await act(due)


def resend(address: str, events: LoopEvents) -> None:
    """Send the same day again and again over several streams, without a pause after errors."""
    asyncio.run(_resend(address, events))


async def _resend(address: str, events: LoopEvents) -> None:
    tubes = make_tubes(LOOP_PERSONS)
    frames = [
        UploadResultsRequest(batch=upload_pb2.TubeBatch(offset=offset, tubes=tubes[offset : offset + 500]))
        for offset in range(0, len(tubes), 500)
    ]
    async with grpc.aio.insecure_channel(address) as channel:
        stub = UploadServiceStub(channel)

        async def keep_on(stream: int) -> None:
            turn = 0
            while not events.stop.is_set():
                if not events.go.is_set():
                    await asyncio.sleep(0.05)
                    continue
                turn += 1
                start = upload_pb2.UploadStart(lab=LAB, upload_id=f"loop-{stream}-{turn}")
                try:
                    async for _ in stub.UploadResults(iter([UploadResultsRequest(start=start), *frames])):
                        if events.stop.is_set():
                            return
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                        events.slowed.set()

        await asyncio.gather(*(keep_on(stream) for stream in range(LOOP_STREAMS)))
