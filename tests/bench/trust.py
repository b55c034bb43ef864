"""Measures what access control and audit cost: one node over mutual TLS, and Verification with and without them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grpc
import psutil
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyRequest,
    VerifyResponse,
)
from hutong_client import Tls

from clients.examples.node import Node, free_addresses
from services.runtime.tuning import freeze_heap
from tests.bench.callers import Target, stream_rate, unary_calls, unary_rate
from tests.bench.gates import gate_node, make_question, node_databases
from tests.bench.measure import ROUNDS, Measurement, in_turns
from tests.bench.nodes import bench_processes
from tests.bench.verify import (
    BATCH,
    BATCHES_AHEAD,
    CALLERS,
    QUESTIONS_AHEAD,
    SERVICE,
    STREAMS,
    is_batch_recognized,
    is_recognized,
)
from tests.support.certificates import Authority, spiffe
from tests.support.databases import PostgresServer

VERIFICATION = "Verification"
ALL = "all processes"
"""Whose processor time is measured: that of Verification alone, or of Verification, Results, PostgreSQL and the callers
together. All of them take more time with an audit, and on a machine that they share the rate depends on all."""
GATE = f"gates/{make_question(0).region}/1"
LEAST_SHARE = 1 / 1.10
"""The least rate of Verify, as a share of the rate without access control and audit; and the least processor time
without them, as a share of the time with both."""
TURN_CALLS = 2_000
"""Calls in a turn of Verify. Turns of one length in time would have fewer calls on the slower side, and what each turn
and each second cost besides its calls would make that side look more expensive still."""
QUOTAS = """
quotas:
  - role: gate
    persons_an_hour: 1000000
    misses_an_hour: 1000000
    calls: 1000
    heavy_calls: 1000
    streams: 1000
    units_a_second: 1000000000
"""
"""Budgets that are counted and never used up."""


def bench_trust(directory: Path, postgres: PostgresServer, persons: int, seconds: float) -> list[Measurement]:
    """Measure each RPC that makes decisions in turns with the same RPC without access control and audit."""
    with gate_node(directory, node_databases(postgres), persons) as node:
        questions = node.questions(20_000)
        urls = node.urls
    with _both(directory, urls, postgres) as (guarded, bare, credentials):
        verify = [_Watched(one, credentials, postgres) for one in (guarded, bare)]
        # The collection of the heap's garbage would count as processor time of the first turn.
        freeze_heap()
        for turn in range(max(ROUNDS, round(ROUNDS * seconds))):
            for one in verify if turn % 2 else reversed(verify):
                one.take_turn(questions[:TURN_CALLS])
        rates = (verify[0].rate, verify[1].rate)
        found = [Measurement("Verify with access control and audit", *_of(rates), "calls/s", must=LEAST_SHARE)]
        for what, must in ((VERIFICATION, None), (ALL, LEAST_SHARE)):
            micros, bare_micros = (one.micros(what) for one in verify)
            found.append(Measurement(f"  its CPU time in {what}", bare_micros, "with both", micros, "µs a call", must))
        both = (guarded.address, bare.address)
        rates = in_turns(seconds, *(partial(_batch_rate, one, credentials, questions) for one in both))
        found.append(Measurement("  BatchVerify of 500 with both", *_of(rates), "persons/s"))
        rates = in_turns(seconds, *(partial(_stream_rate, one, credentials, questions) for one in both))
        found.append(Measurement("  StreamVerify, 64 gates, with both", *_of(rates), "answers/s"))
    return found


def _of(rates: tuple[float, float]) -> tuple[float, str, float]:
    return rates[0], "the same without either", rates[1]


class _Verification(NamedTuple):
    """A running Verification: its address, its process, and that of the node's Results."""

    address: str
    pid: int
    results_pid: int


class _Watched:
    """Calls one Verification, and adds up the processor time that it takes. Other programs affect that time less."""

    def __init__(
        self, verification: _Verification, credentials: grpc.ChannelCredentials, postgres: PostgresServer
    ) -> None:
        self._target = Target(verification.address, f"{SERVICE}/Verify", VerifyResponse, is_recognized, credentials)
        self._own = psutil.Process(verification.pid)
        self._others = (psutil.Process(verification.results_pid), psutil.Process())
        self._postgres = postgres
        self._seconds = dict.fromkeys((VERIFICATION, ALL), 0.0)
        self._calls = 0
        self._rates: list[float] = []

    def take_turn(self, questions: list[VerifyRequest]) -> None:
        """Ask each question once."""
        notes: list[dict[str, float]] = []
        self._rates.append(unary_calls(self._target, questions, CALLERS, note=lambda: notes.append(self._read())))
        before, after = notes
        for what, now in after.items():
            self._seconds[what] += now - before[what]
        self._calls += len(questions)

    @property
    def rate(self) -> float:
        """The median rate of the turns, in calls a second."""
        return median(self._rates)

    def micros(self, what: str) -> float:
        """Return the processor time of one call in microseconds."""
        return self._seconds[what] / self._calls * 1e6

    def _read(self) -> dict[str, float]:
        own = _seconds_of(self._own)
        return {VERIFICATION: own, ALL: own + sum(map(_seconds_of, self._others)) + self._postgres.cpu_seconds()}


def _seconds_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _batch_rate(
    address: str, credentials: grpc.ChannelCredentials, questions: list[VerifyRequest], seconds: float
) -> float:
    batches = [
        BatchVerifyRequest(requests=questions[start : start + BATCH]) for start in range(0, len(questions), BATCH)
    ]
    target = Target(address, f"{SERVICE}/BatchVerify", BatchVerifyResponse, is_batch_recognized, credentials)
    return unary_rate(target, batches, seconds, BATCHES_AHEAD) * BATCH


def _stream_rate(
    address: str, credentials: grpc.ChannelCredentials, questions: list[VerifyRequest], seconds: float
) -> float:
    asked = [StreamVerifyRequest(correlation_id=str(index), request=one) for index, one in enumerate(questions)]
    target = Target(address, f"{SERVICE}/StreamVerify", StreamVerifyResponse, is_recognized, credentials)
    return stream_rate(target, asked, seconds, STREAMS, QUESTIONS_AHEAD)


@contextmanager
def _both(
    directory: Path, urls: dict[str, str], postgres: PostgresServer
) -> Iterator[tuple[_Verification, _Verification, grpc.ChannelCredentials]]:
    """Run a filled node over mutual TLS, with a second Verification of the other kind.

    Yields the two, the node's own first, and the credentials of a gate.
    """
    files = directory / "certificates"
    files.mkdir()
    authority, nodes = Authority(files, "client-ca"), Authority(files, "node-ca")
    server = authority.sign("server", spiffe("services/verification/410000"))
    gate = authority.sign("gate", spiffe(GATE))
    quotas = files / "access.yaml"
    quotas.write_text(QUOTAS)
    variables = {
        "HUTONG_TLS_CERTIFICATE_FILE": str(server.certificate),
        "HUTONG_TLS_KEY_FILE": str(server.key),
        "HUTONG_TLS_SERVER_CA_FILE": str(authority.root.certificate),
        "HUTONG_TLS_CLIENT_CA_FILE": str(authority.root.certificate),
        "HUTONG_TLS_NODE_CA_FILE": str(nodes.root.certificate),
        "HUTONG_ACCESS_FILE": str(quotas),
    }
    shown = Tls(authority.root.certificate, server.certificate, server.key)
    with bench_processes(directory / "node-trust", urls, variables, shown) as node:
        address = free_addresses()["verification"]
        with _bare_verification(node, address, postgres.make("verification")) as pid:
            credentials = Tls(authority.root.certificate, gate.certificate, gate.key).credentials()
            for one in (node.addresses["verification"], address):
                with grpc.secure_channel(one, credentials) as channel:
                    grpc.channel_ready_future(channel).result(30)
            pids = node.pids()
            own = _Verification(node.addresses["verification"], pids["verification"], pids["results"])
            yield own, _Verification(address, pid, pids["results"]), credentials


@contextmanager
def _bare_verification(node: Node, address: str, url: str) -> Iterator[int]:
    """Run a Verification without access control and audit. Yields its process id."""
    own = {"HUTONG_VERIFICATION_ADDRESS": address, "HUTONG_VERIFICATION_DATABASE_URL": url}
    with (node.data_dir / "untrusting.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.untrusting"],
            env=node.settings | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
