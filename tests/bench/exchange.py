"""Measures how fast a province's results reach the nation.

A backlog is compared with the upload of the same results, and single reports are timed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

import grpc
import psycopg
from hutong.results.v1 import lab_pb2, upload_pb2, upload_service_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, LookupLatestRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong.type.v1 import identity_pb2

from tests.bench.measure import ROUNDS, Measurement, usual_p99
from tests.bench.nodes import bench_node
from tests.bench.policy_flow import time_publications
from tests.bench.tubes import LAB, make_tubes
from tests.bench.upload import UNLIMITED, send
from tests.support.databases import PostgresServer

PROBES = 100
"""How many single reports of one turn are timed on their way to the nation."""
PUBLICATIONS = 100
PROBE_SECONDS = 0.05
"""The wait between two single reports."""
LOAD_PERSONS_PER_SECOND = 2_000
"""The rate of another stream meanwhile. It makes about 170 million results a day in one province."""
TIMEOUT_SECONDS = 300.0
"""The longest wait for the backlog, and for the single reports. The bench fails after it."""
LOOK_SECONDS = 0.01
"""The time between two looks at what has arrived."""
FIRST_PROBE = 6_000_000
"""The number of the first person with a single report, above all persons of the other streams."""


def bench_exchange(directory: Path, postgres: PostgresServer, persons: int) -> list[Measurement]:
    """Measure the backlog of a province that joins, then single reports beside another stream, then publications."""
    tubes = make_tubes(persons)
    nation_url, province_url = postgres.make("results"), postgres.make("results")
    nation = {"HUTONG_JURISDICTION": "000000"}
    with bench_node(directory / "nation", {"results": nation_url}, nation) as nation_addresses:
        with (
            bench_node(directory / "province", {"results": province_url}, UNLIMITED) as addresses,
            grpc.insecure_channel(addresses["results"]) as channel,
        ):
            lab = lab_pb2.Lab(name=LAB, display_name="bench", region="410100")
            LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
            upload = send(channel, "first", tubes, persons, "accepted_count")
        joined = {"HUTONG_UPSTREAM": nation_addresses["results"]}
        with (
            watch_backlog(nation_url, nation_url, 0, persons) as drained,
            bench_node(directory / "province", {"results": province_url}, joined) as addresses,
            grpc.insecure_channel(addresses["results"]) as channel,
            grpc.insecure_channel(nation_addresses["results"]) as nation_channel,
        ):
            drain = drained.result()
            turns = _probe(channel, nation_channel)
    publications = sorted(_publish(directory, postgres))
    return [
        Measurement("replication of a backlog", persons / drain, "its upload", persons / upload, "persons/s", 0.8),
        Measurement(
            *("acknowledged to nationwide, p99", 1000 / usual_p99(turn.delays for turn in turns)),
            *("one local commit", 1000 / usual_p99(turn.commits for turn in turns), "1/1000 s", 0.1),
        ),
        _within("published at the nation to a province's answer, p99", publications[int(PUBLICATIONS * 0.99)], 1.0),
    ]


def _publish(directory: Path, postgres: PostgresServer) -> list[float]:
    """Return the seconds from publications at the nation to answers of a province."""
    nation = {"HUTONG_JURISDICTION": "000000"}
    with bench_node(directory / "nation-policy", {"policy": postgres.make("policy")}, nation) as above:
        joined = {"HUTONG_UPSTREAM": above["results"], "HUTONG_UPSTREAM_POLICY": above["policy"]}
        with bench_node(directory / "province-policy", {"policy": postgres.make("policy")}, joined) as below:
            return asyncio.run(time_publications(above["policy"], below["policy"], PUBLICATIONS))


def _within(what: str, seconds: float, limit: float) -> Measurement:
    """Return a delay and its limit as rates, because a measurement compares rates."""
    return Measurement(what, 1000 / seconds, f"{limit:g} s", 1000 / limit, "1/1000 s", 1.0)


@contextmanager
def watch_backlog(url: str, receiver: str, before: int, persons: int) -> Iterator[Future[float]]:
    """Watch how a backlog arrives at the upper node. Start the sender within the block.

    Yields the seconds that all persons take once the first have arrived. If all arrive at once, these are the seconds
    since the sender has opened its stream.

    Args:
        url: the database of the upper node.
        receiver: the database of the node to which the sender sends; the same one without a node between them.
        before: the persons that the upper node has already.
        persons: the persons of the backlog.
    """
    ended = threading.Event()
    with (
        psycopg.connect(url, autocommit=True) as upper,
        psycopg.connect(receiver, autocommit=True) as middle,
        ThreadPoolExecutor(1) as pool,
    ):
        streams = _read_number(middle, _STREAMS)

        def watch() -> float:
            opened = _await(middle, _STREAMS, streams + 1, ended)[0]
            first_time, first = _await(upper, _PERSONS, before + 1, ended)
            last_time, _ = _await(upper, _PERSONS, before + persons, ended)
            assert _read_number(upper, "SELECT count(*) FROM report_keys") == before + persons
            arrived = first - before
            # What had arrived at the first look is not in the time from then on.
            in_steps = (last_time - first_time) * persons / (persons - arrived) if arrived < persons else 0.0
            return in_steps or last_time - opened

        try:
            yield pool.submit(watch)
        finally:
            ended.set()


_STREAMS: LiteralString = "SELECT coalesce(sum(stream), 0)::bigint FROM replication_streams"
_PERSONS: LiteralString = "SELECT coalesce(sum(persons), 0)::bigint FROM delays"
"""`delays` is updated with every commit. Counting the rows of results at each look would cost too much."""


def _await(
    connection: psycopg.Connection[tuple[Any, ...]], query: LiteralString, least: int, ended: threading.Event
) -> tuple[float, int]:
    """Return when a number reached its least value, and the number."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until and not ended.is_set():
        number = _read_number(connection, query)
        if number >= least:
            return time.perf_counter(), number
        ended.wait(LOOK_SECONDS)
    raise AssertionError("the backlog did not arrive")


def _read_number(connection: psycopg.Connection[tuple[Any, ...]], query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


class Probes(NamedTuple):
    """Seconds that single reports took.

    Attributes:
        delays: from the acknowledgement of each report to a look-up at the nation that finds it.
        commits: from the sending of each report to its acknowledgement, which comes after the commit.
    """

    delays: list[float]
    commits: list[float]


def _probe(province: grpc.Channel, nation: grpc.Channel) -> list[Probes]:
    """Time single reports in turns, beside another stream."""
    stop = threading.Event()
    load = threading.Thread(target=_load, args=(province, stop))
    load.start()
    try:
        firsts = range(FIRST_PROBE, FIRST_PROBE + ROUNDS * PROBES, PROBES)
        return [time_probes(province, nation, LAB, first, PROBES) for first in firsts]
    finally:
        stop.set()
        load.join()


def _load(channel: grpc.Channel, stop: threading.Event) -> None:
    """Upload at a steady rate until `stop` is set."""

    def feed() -> Iterator[upload_service_pb2.UploadResultsRequest]:
        yield upload_service_pb2.UploadResultsRequest(start=upload_pb2.UploadStart(lab=LAB, upload_id="load"))
        offset, first = 0, FIRST_PROBE // 2
        while not stop.wait(0.25):
            tubes = make_tubes(LOAD_PERSONS_PER_SECOND // 4, first=first)
            yield upload_service_pb2.UploadResultsRequest(batch=upload_pb2.TubeBatch(offset=offset, tubes=tubes))
            offset, first = offset + len(tubes), first + LOAD_PERSONS_PER_SECOND // 4

    for _ in UploadServiceStub(channel).UploadResults(feed()):
        pass


def time_probes(below: grpc.Channel, nation: grpc.Channel, lab: str, first: int, probes: int) -> Probes:
    """Upload single reports of persons from `first` on at a node below the nation, and look them up at the nation."""
    sent: dict[int, float] = {}
    acknowledged: dict[int, float] = {}
    delays: dict[int, float] = {}
    documents: dict[int, identity_pb2.IdentityDocument] = {}

    def feed() -> Iterator[upload_service_pb2.UploadResultsRequest]:
        yield upload_service_pb2.UploadResultsRequest(
            start=upload_pb2.UploadStart(lab=lab, upload_id=f"probes-{first}")
        )
        for index in range(probes):
            (tube,) = make_tubes(1, first=first + index)
            documents[index] = tube.persons[0].document
            sent[index] = time.perf_counter()
            yield upload_service_pb2.UploadResultsRequest(batch=upload_pb2.TubeBatch(offset=index, tubes=[tube]))
            time.sleep(PROBE_SECONDS)

    def upload() -> None:
        for index, _ in enumerate(UploadServiceStub(below).UploadResults(feed())):
            acknowledged[index] = time.perf_counter()

    uploading = threading.Thread(target=upload)
    uploading.start()
    stub = ResultsServiceStub(nation)
    until = time.monotonic() + TIMEOUT_SECONDS
    while len(delays) < probes and time.monotonic() < until:
        waiting = [index for index in list(acknowledged) if index not in delays][:500]
        if waiting:
            asked = [LookupLatestRequest(document=documents[index]) for index in waiting]
            items = stub.BatchLookupLatest(BatchLookupLatestRequest(requests=asked)).items
            seen = time.perf_counter()
            for index, item in zip(waiting, items, strict=True):
                if item.response.in_region:
                    delays[index] = seen - acknowledged[index]
        time.sleep(0.01)
    uploading.join()
    assert len(delays) == probes, f"{probes - len(delays)} reports did not arrive"
    return Probes(list(delays.values()), [acknowledged[index] - sent[index] for index in range(probes)])
