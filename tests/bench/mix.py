"""`make soak-mix`: all kinds of work together at half of the capacity, with flat memory and descriptors, and no error.

Gates ask one by one and on streams. Laboratories upload results that are nearly old enough to be purged. Authorities
recall results and publish policies. Others watch results and policies. `hutongd purge` removes what has become old. So
the stores stay as large as they are, too. The mix lasts as long as HUTONG_SOAK_SECONDS says. It prints what was done,
and the resident memory and the open descriptors of each service.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import grpc
import psutil
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from hutong.results.v1.results_service_pb2 import WatchResultsRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.upload_pb2 import TubeBatch, UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong.verification.v1.verification_service_pb2 import StreamVerifyRequest, VerifyResponse
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub
from hutong_client.errors import from_rpc_error

from services.runtime.logs import configure_logs
from services.runtime.tuning import freeze_heap
from tests.bench.callers import Target, unary_rate
from tests.bench.gates import GateNode, gate_node, hotel_policy, make_question, node_databases
from tests.bench.measure import family_of
from tests.bench.nodes import bench_variables
from tests.bench.tubes import LAB, make_tubes
from tests.bench.verify import CALLERS, SERVICE, is_recognized
from tests.support.databases import PostgresServer
from tests.support.guard import guarded
from tests.support.servers import new_channel

SECONDS = 2_400.0
"""How long the mix lasts if HUTONG_SOAK_SECONDS does not say otherwise."""
PERSONS = 20_000
GATES_SHARE = 0.4
"""The rate of lone questions as a share of the rate that gates reach alone. The rest of the mix makes about half."""
CONNECTIONS = 8
TRIES = 5
"""How often a gate asks while it is refused. On a shared machine a stall of half a second is enough for refusals."""
STREAMS, STREAM_PAUSE = 8, 0.5
"""Streams of gates, and the seconds between two questions on each."""
WATCHERS = 4
"""The watchers of results, and those of policies."""
UPLOADED = 100
"""Persons of an upload. The spread of `make_tubes` over the day is a multiple of this number."""
UPLOAD_EVERY, RECALL_EVERY, PUBLISH_EVERY, PURGE_EVERY = 1.0, 5.0, 10.0, 60.0
"""Seconds between two calls of each kind."""
KEPT_DAYS = 30
YOUNGER_SECONDS = 60
"""How much younger an uploaded result is than one that is purged."""
SAMPLE_EVERY = 5.0
WARM_SHARE, WINDOW_SHARE = 0.25, 0.1
"""The part of the time after which memory must be flat, and the part whose median is compared with that of the end."""
MOST_GROWTH = 1.05
MORE_DESCRIPTORS = 4
"""How many more descriptors may be open at the end. Pools of connections and uploads under way come and go."""


class Sample(NamedTuple):
    """The resources that a service with its workers uses: memory in MiB, and open descriptors."""

    memory: float
    descriptors: int


@dataclass
class Mix:
    """The work under way.

    Attributes:
        node: the node that does it.
        until: when new work ends, by `time.monotonic`.
        done: how often each kind of work was done.
        failed: how often each kind failed, with the reason.
        refused: how often a lone question was refused, with the time after which the gate asked again.
        slowest: the slowest answer to a lone question, in seconds, refusals included.
    """

    node: GateNode
    directory: Path
    until: float
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    slowest: float = 0.0

    async def run(self, rate: float) -> None:
        """Do all kinds of work, with lone questions at a rate, until the time is over."""
        async with (
            new_channel(self.node.results) as results,
            new_channel(self.node.policy) as policy,
            new_channel(self.node.verification) as verification,
        ):
            uploads, publications = itertools.count(), itertools.count()
            watches = [
                *(lambda: ResultsServiceStub(results).WatchResults(WatchResultsRequest()) for _ in range(WATCHERS)),
                *(lambda: PolicyServiceStub(policy).WatchPolicies(WatchPoliciesRequest()) for _ in range(WATCHERS)),
            ]
            watching = [asyncio.create_task(self._watch(watch)) for watch in watches]
            await asyncio.gather(
                self._ask_at(rate),
                *(self._stream(verification, index) for index in range(STREAMS)),
                self._repeat("upload", UPLOAD_EVERY, lambda: _upload(results, next(uploads))),
                self._repeat("recall", RECALL_EVERY, lambda: _recall(results)),
                self._repeat("publication", PUBLISH_EVERY, lambda: _publish(policy, next(publications))),
                self._repeat("purge", PURGE_EVERY, self._purge),
            )
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _note(self, kind: str, work: Awaitable[object]) -> None:
        """Count a piece of work as done or failed."""
        try:
            await work
        except grpc.aio.AioRpcError as error:
            self.failed[f"{kind}: {error.code().name} {error.details()}"] += 1
        except AssertionError as error:
            self.failed[f"{kind}: {error}"] += 1
        else:
            self.done[kind] += 1

    async def _repeat(self, kind: str, every: float, act: Callable[[], Awaitable[object]]) -> None:
        """Do a kind of work again and again, one at a time."""
        begun = time.monotonic()
        for index in itertools.count():
            await asyncio.sleep(max(0.0, begun + index * every - time.monotonic()))
            if time.monotonic() >= self.until:
                return
            await self._note(kind, act())

    async def _ask_at(self, rate: float) -> None:
        """Begin lone questions at a rate, answered or not, over some connections."""
        channels = [new_channel(self.node.verification) for _ in range(CONNECTIONS)]
        gates = [VerificationServiceStub(channel) for channel in channels]
        under_way: set[asyncio.Task[None]] = set()
        begun = time.monotonic()
        for index in itertools.count():
            await asyncio.sleep(max(0.0, begun + index / rate - time.monotonic()))
            if time.monotonic() >= self.until:
                break
            asking = self._ask(gates[index % CONNECTIONS], index * 7919 % PERSONS)
            task = asyncio.create_task(self._note("question", asking))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        for channel in channels:
            await channel.close()

    async def _ask(self, gate: Any, person: int) -> None:
        asked = time.monotonic()
        for _ in range(TRIES):
            try:
                answer = await gate.Verify(make_question(person), timeout=30)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                delay = from_rpc_error(error).retry_delay
                assert delay is not None, "refused without RetryInfo"
                self.refused += 1
                await asyncio.sleep(delay.total_seconds())
                continue
            self.slowest = max(self.slowest, time.monotonic() - asked)
            assert is_recognized(answer), "not RECOGNIZED"
            return
        raise AssertionError(f"refused {TRIES} times")

    async def _stream(self, channel: grpc.aio.Channel, first: int) -> None:
        stream = VerificationServiceStub(channel).StreamVerify()

        async def ask(index: int) -> None:
            await stream.write(StreamVerifyRequest(request=make_question(index * 7919 % PERSONS)))
            answer: Any = await stream.read()
            assert answer is not grpc.aio.EOF, "the stream has ended"
            assert answer.WhichOneof("item") == "decision", answer.error.message

        numbers = itertools.count(first, STREAMS)
        await self._repeat("question on a stream", STREAM_PAUSE, lambda: ask(next(numbers)))
        await stream.done_writing()

    async def _watch(self, watch: Callable[[], Any]) -> None:
        async def follow() -> None:
            async for _ in watch():
                self.done["message of a watch"] += 1

        await self._note("watch", follow())

    async def _purge(self) -> None:
        environment = bench_variables(self.directory) | {
            f"HUTONG_{name.upper()}_DATABASE_URL": url for name, url in self.node.urls.items()
        }
        command = [sys.executable, "-m", "services", "purge", "--older-than", f"{KEPT_DAYS}d"]
        pipe, output = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=output)
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()[-500:]


def _nearly_old() -> int:
    """Return a report time in seconds since 1970 that is soon old enough for the purge."""
    return int(time.time()) - KEPT_DAYS * 86_400 + YOUNGER_SECONDS


async def _upload(channel: grpc.aio.Channel, number: int) -> None:
    first = (number + 1) * UPLOADED + PERSONS
    tubes = make_tubes(UPLOADED, first=first, report_time=_nearly_old() - first % 36_000)
    frames = [
        UploadResultsRequest(start=UploadStart(lab=LAB, upload_id=f"mix-{number}")),
        UploadResultsRequest(batch=TubeBatch(offset=0, tubes=tubes)),
    ]
    accepted = 0
    async for answer in UploadServiceStub(channel).UploadResults(iter(frames)):
        accepted += answer.accepted_count
    assert accepted == UPLOADED, f"{accepted} of {UPLOADED} accepted"


async def _recall(channel: grpc.aio.Channel) -> None:
    begin = _nearly_old()
    interval = Interval(start_time=Timestamp(seconds=begin), end_time=Timestamp(seconds=begin + 5))
    recall = RecallResultsRequest(lab=LAB, report_interval=interval, reason="soak")
    await ResultsAdminServiceStub(channel).RecallResults(recall, timeout=60)


async def _publish(channel: grpc.aio.Channel, number: int) -> None:
    policy = hotel_policy(int(time.time()))
    policy.title = f"example window: hotels, {number}"
    await PolicyAdminServiceStub(channel).PublishPolicy(PublishPolicyRequest(policy=policy), timeout=60)


def _sample(process: psutil.Process) -> Sample:
    family = family_of(process)
    memory = sum(one.memory_info().rss for one in family) / 2**20
    return Sample(memory, sum(one.num_fds() for one in family))


async def _keep_sampling(processes: dict[str, psutil.Process], samples: dict[str, list[Sample]]) -> None:
    while True:
        for name, process in processes.items():
            samples[name].append(_sample(process))
        await asyncio.sleep(SAMPLE_EVERY)


async def _run(mix: Mix, rate: float, samples: dict[str, list[Sample]]) -> None:
    processes = {name: psutil.Process(pid) for name, pid in mix.node.pids.items()}
    sampling = asyncio.create_task(_keep_sampling(processes, samples))
    try:
        await mix.run(rate)
    finally:
        sampling.cancel()


def _growths(samples: dict[str, list[Sample]]) -> Iterator[bool]:
    """Print what each service held. Yield for each whether it has grown."""
    for name, seen in samples.items():
        window = max(3, round(len(seen) * WINDOW_SHARE))
        early, late = round(len(seen) * WARM_SHARE), len(seen) - window
        before, after = (_usual(seen[begin : begin + window]) for begin in (early, late))
        print(
            f"  {name}: {before.memory:.1f} MiB and {before.descriptors} descriptors after a quarter,"
            f" {after.memory:.1f} MiB and {after.descriptors} at the end"
        )
        yield after.memory > before.memory * MOST_GROWTH or after.descriptors > before.descriptors + MORE_DESCRIPTORS


def _usual(samples: Sequence[Sample]) -> Sample:
    return Sample(median(one.memory for one in samples), round(median(one.descriptors for one in samples)))


def main() -> int:
    """Run the mix. Return 1 if a service has grown or any work has failed."""
    configure_logs("warning")
    seconds = float(os.environ.get("HUTONG_SOAK_SECONDS", SECONDS))
    with guarded(), tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        postgres = PostgresServer(directory / "postgresql")
        try:
            with gate_node(directory, node_databases(postgres), PERSONS) as node:
                verify = Target(node.verification, f"{SERVICE}/Verify", VerifyResponse, is_recognized)
                rate = unary_rate(verify, node.questions(PERSONS), 10.0, callers=CALLERS) * GATES_SHARE
                freeze_heap()
                samples: dict[str, list[Sample]] = {name: [] for name in node.pids}
                mix = Mix(node, directory / "node-gates", time.monotonic() + seconds)
                asyncio.run(_run(mix, rate, samples))
        finally:
            postgres.stop()
    print(
        f"mix: {rate:,.0f} lone questions a second for {seconds:,.0f} s, the slowest answer after {mix.slowest:.2f} s"
    )
    print(f"  done: {', '.join(f'{count:,} x {kind}' for kind, count in mix.done.most_common())}")
    print(f"  refused and asked again: {mix.refused:,}; failed: {dict(mix.failed) or 'nothing'}")
    has_grown = list(_growths(samples))
    return int(any(has_grown) or bool(mix.failed))


if __name__ == "__main__":
    sys.exit(main())
