"""Measures the memory of Results during a long upload. It must not grow with the number of persons uploaded."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from hutong.results.v1 import lab_pb2, upload_pb2, upload_service_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from tests.bench.measure import Measurement, family_of
from tests.bench.nodes import bench_processes
from tests.bench.tubes import LAB, make_tubes
from tests.support.databases import PostgresServer

BATCH_PERSONS = 2_500
SAMPLE_SECONDS = 0.5
WARM = 0.1
"""The share of the persons after which memory is first measured. Caches and pools are full by then."""
FLAT = 0.9
"""The least ratio of the memory before to the memory at the end. It is below 1 because an allocator is not exact."""


@dataclass
class Watched:
    """A process with its children, and samples of their memory during the upload."""

    pid: int
    persons: int = 0
    samples: list[tuple[int, float]] = field(default_factory=list)
    """For each sample the persons acknowledged so far, and the resident memory in MiB."""
    _done: threading.Event = field(default_factory=threading.Event)

    def resident(self) -> float:
        """Return the resident memory of the process and its children, in MiB."""
        return sum(member.memory_info().rss for member in family_of(psutil.Process(self.pid))) / 2**20

    def watch(self) -> None:
        """Take samples until `stop` is called."""
        while not self._done.wait(SAMPLE_SECONDS):
            self.samples.append((self.persons, self.resident()))

    def stop(self) -> None:
        """End the sampling."""
        self._done.set()

    def around(self, share: float) -> float:
        """Return the median memory around the moment when this share of the persons was acknowledged.

        Samples within a twentieth of all persons count.
        """
        near = [held for persons, held in self.samples if abs(persons / self.persons - share) <= 0.05]
        return statistics.median(near or [self.samples[-1][1]])


def bench_memory(directory: Path, postgres: PostgresServer, persons: int, longest_seconds: float) -> list[Measurement]:
    """Upload new results in one stream until all persons are uploaded or the time is over."""
    with (
        bench_processes(directory / "node-memory", {"results": postgres.make("results")}) as node,
        grpc.insecure_channel(node.addresses["results"]) as channel,
    ):
        watched = Watched(node.pids()["results"])
        rest = watched.resident()
        lab = lab_pb2.Lab(name=LAB, display_name="bench", region="220500")
        LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
        watcher = threading.Thread(target=watched.watch)
        watcher.start()
        begun = time.monotonic()
        try:
            for response in UploadServiceStub(channel).UploadResults(endless(persons, begun + longest_seconds)):
                watched.persons += response.accepted_count
        finally:
            watched.stop()
            watcher.join()
    seconds = time.monotonic() - begun
    start, middle, end = watched.around(WARM), watched.around(0.5), watched.around(1.0)
    print(
        f"memory of Results: {rest:,.0f} MiB at rest; {start:,.0f}, {middle:,.0f} and {end:,.0f} MiB after a tenth,"
        f" half and all of {watched.persons:,} persons in {seconds:,.0f} s"
    )
    return [
        Measurement("memory, after a tenth", start, f"after {watched.persons:,} persons", end, "MiB", FLAT),
        Measurement("memory, after half", middle, f"after {watched.persons:,} persons", end, "MiB", FLAT),
    ]


def endless(persons: int, until: float) -> Iterator[upload_service_pb2.UploadResultsRequest]:
    """Yield batches that are made when they are sent, so that the client's memory stays small too."""
    yield upload_service_pb2.UploadResultsRequest(start=upload_pb2.UploadStart(lab=LAB, upload_id="endless"))
    offset = 0
    for first in range(0, persons, BATCH_PERSONS):
        if time.monotonic() > until:
            return
        tubes = make_tubes(BATCH_PERSONS, first=first, seed=first)
        yield upload_service_pb2.UploadResultsRequest(batch=upload_pb2.TubeBatch(offset=offset, tubes=tubes))
        offset += len(tubes)
