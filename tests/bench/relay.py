"""Measures how fast a city's results reach the nation through the province between them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import grpc
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub

from tests.bench.exchange import time_probes, watch_backlog
from tests.bench.measure import ROUNDS, Measurement, usual_p99
from tests.bench.nodes import bench_node
from tests.bench.tubes import LAB, make_tubes
from tests.bench.upload import send
from tests.support.databases import PostgresServer

T = TypeVar("T")
PROVINCES_LAB = "labs/91410300MA00000018"
PROBES = 100
"""Single reports of each node in a turn."""
FIRST_PROBE = 6_000_000
"""The number of the first person with a single report, above all persons of the backlogs."""
APART = 500_000
"""Between the first persons of two series of single reports."""


def bench_relay(directory: Path, postgres: PostgresServer, persons: int) -> list[Measurement]:
    """Measure a city's uploads and how they drain to the nation in turns, then single reports of city and province."""
    urls = {name: postgres.make("results") for name in ("nation", "province", "city")}
    with (
        bench_node(
            directory / "relay-nation", {"results": urls["nation"]}, {"HUTONG_JURISDICTION": "000000"}
        ) as nation,
        bench_node(
            directory / "relay-province", {"results": urls["province"]}, {"HUTONG_UPSTREAM": nation["results"]}
        ) as province,
    ):
        city = {"HUTONG_JURISDICTION": "410100"}
        joined = city | {"HUTONG_UPSTREAM": province["results"]}

        def run(variables: dict[str, str], work: Callable[[grpc.Channel], T]) -> T:
            """Run the city's node meanwhile."""
            with (
                bench_node(directory / "relay-city", {"results": urls["city"]}, variables) as addresses,
                grpc.insecure_channel(addresses["results"]) as channel,
            ):
                return work(channel)

        run(city, lambda channel: _register(channel, LAB, "410100"))
        rates = []
        each = persons // ROUNDS
        for turn in range(ROUNDS):
            tubes = make_tubes(each, first=turn * each)
            upload = run(city, lambda channel: send(channel, f"turn-{turn}", tubes, each, "accepted_count"))  # noqa: B023
            with watch_backlog(urls["nation"], urls["province"], turn * each, each) as drained:
                drain = run(joined, lambda _: drained.result())
            rates.append((each / drain, each / upload))
        with (
            grpc.insecure_channel(nation["results"]) as nation_channel,
            grpc.insecure_channel(province["results"]) as province_channel,
        ):
            _register(province_channel, PROVINCES_LAB, "410300")
            delays = run(joined, lambda channel: _probe(channel, province_channel, nation_channel))
    usual, usual_upload = sorted(rates, key=lambda one: one[0] / one[1])[ROUNDS // 2]
    from_city, from_province = (usual_p99(turns) for turns in zip(*delays, strict=True))
    return [
        Measurement("replication through a middle node", usual, "its upload", usual_upload, "persons/s", 0.8),
        Measurement(
            *("acknowledged in a city to nationwide, p99", 1000 / from_city, "from a province", 1000 / from_province),
            *("1/1000 s", 1 / 3),
        ),
    ]


def _register(channel: grpc.Channel, name: str, region: str) -> None:
    lab = lab_pb2.Lab(name=name, display_name="bench", region=region)
    LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))


def _probe(city: grpc.Channel, province: grpc.Channel, nation: grpc.Channel) -> list[tuple[list[float], list[float]]]:
    """Return the seconds from acknowledgement to a look-up at the nation in turns, of the city and of the province.

    Both nodes are measured at the same time, so that a stall of the machine affects both.
    """
    turns = []
    with ThreadPoolExecutor(2) as pool:
        for turn in range(ROUNDS):
            first = FIRST_PROBE + turn * PROBES
            of_city = pool.submit(time_probes, city, nation, LAB, first, PROBES)
            of_province = pool.submit(time_probes, province, nation, PROVINCES_LAB, first + APART, PROBES)
            turns.append((of_city.result().delays, of_province.result().delays))
    return turns
