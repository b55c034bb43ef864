"""`python -m tests.bench.citus`: the costs of uploads and look-ups on Citus beside PostgreSQL's on the same cores.

Both databases are on the servers of the Citus that HUTONG_TEST_CITUS_URL names, PostgreSQL's on the coordinator's. They
are measured in turns. Costs are processor time, which depends less on other load of the machine than seconds do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from rich.console import Console
from rich.table import Table
from sqlalchemy import URL, make_url, select

from services.results.lookup.subjects import find_newest
from services.results.records.tables import report_keys
from services.storage.engine import Database, open_database
from services.storage.migrate import upgrade
from tests.bench.measure import ROUNDS
from tests.bench.nodes import bench_node
from tests.bench.tubes import LAB, make_tubes
from tests.bench.upload import send
from tests.support.citus import connect
from tests.support.citus_servers import CitusNode, find_nodes
from tests.support.databases import CitusServer

PLAIN = "hutong_bench"
"""The database without Citus."""
TOGETHER, ALONE = 50, 400
"""Persons of one statement, and persons that are looked up alone."""


class Cost(NamedTuple):
    """Microseconds for each result or person: of the coordinator's server, of all workers, and by the clock."""

    coordinator: float
    workers: float
    elapsed: float


class Bench:
    """Measures what work costs on the servers of a Citus."""

    def __init__(self, nodes: Sequence[CitusNode]) -> None:
        self._coordinator, *self._workers = nodes

    def measure(self, count: int, work: Callable[[], object]) -> Cost:
        """Do work of `count` results or persons, and return its cost."""
        begun, before = time.perf_counter(), self._used()
        work()
        elapsed = time.perf_counter() - begun
        coordinator, workers = (after - used for after, used in zip(self._used(), before, strict=True))
        return Cost(*(1e6 * seconds / count for seconds in (coordinator, workers, elapsed)))

    def _used(self) -> tuple[float, float]:
        return self._coordinator.cpu_seconds(), sum(worker.cpu_seconds() for worker in self._workers)


def measure_engine(bench: Bench, directory: Path, url: str, persons: int) -> dict[str, Cost]:
    """Upload persons to an empty database, then look them up."""
    tubes = make_tubes(persons)
    costs = {}
    with bench_node(directory, {"results": url}) as addresses, grpc.insecure_channel(addresses["results"]) as channel:
        lab = lab_pb2.Lab(name=LAB, display_name="bench", region="220500")
        LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
        # The connections are made, and the month's partition, before anything is measured.
        send(channel, "warm", make_tubes(1_000, first=persons), 1_000, "accepted_count")
        upload = bench.measure(persons, lambda: send(channel, "day", tubes, persons, "accepted_count"))
        costs["a result uploaded"] = upload
    with contextlib.closing(open_database(url)) as database:
        keys = database.read_now(
            lambda connection: connection.execute(select(report_keys.c.subject_key).limit(persons)).scalars().all()
        )
        look_up(database, keys, TOGETHER)
        look_up(database, keys[:ALONE], 1)
        costs[f"a person looked up, {TOGETHER} in one statement"] = bench.measure(
            len(keys), lambda: look_up(database, keys, TOGETHER)
        )
        costs["a person looked up alone"] = bench.measure(ALONE, lambda: look_up(database, keys[:ALONE], 1))
    return costs


def look_up(database: Database, keys: Sequence[bytes], size: int) -> None:
    """Look up persons, `size` in one statement."""
    for start in range(0, len(keys), size):
        found = database.read_now(find_newest, keys[start : start + size])
        assert all(found)


def main() -> int:
    """Measure, and print each cost with its range over the rounds."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.citus", description=__doc__)
    parser.add_argument("--persons", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    url = os.environ.get("HUTONG_TEST_CITUS_URL", "")
    if not url:
        print("HUTONG_TEST_CITUS_URL names no Citus: docs/scale.md says how to start one", file=sys.stderr)
        return 1
    server, coordinator = CitusServer(url), make_url(url)
    bench = Bench(find_nodes(url))
    found: dict[tuple[str, str], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(options.rounds):
            for engine in ("PostgreSQL", "Citus"):
                place = server.make() if engine == "Citus" else make_plain(coordinator)
                costs = measure_engine(bench, Path(scratch) / f"{engine}-{turn}", place, options.persons)
                server.release()
                for what, cost in costs.items():
                    found.setdefault((what, engine), []).append(cost)
    table = Table("microseconds", "engine", *Cost._fields)
    for (what, engine), costs_of in sorted(found.items()):
        ranges = (f"{min(values):,.0f}–{max(values):,.0f}" for values in zip(*costs_of, strict=True))
        table.add_row(what, engine, *ranges)
    Console(width=120).print(table)
    return 0


def make_plain(coordinator: URL) -> str:
    """Make the database without Citus anew, and return its URL."""
    with connect(coordinator.set(database="postgres")) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {PLAIN} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {PLAIN}")
    url = coordinator.set(database=PLAIN).render_as_string(hide_password=False)
    upgrade("results", url)
    return url


if __name__ == "__main__":
    sys.exit(main())
