"""An upgrade of a node on PostgreSQL under load, from the previous release to this version. No caller gets an error.

`make soak-upgrade` runs it. The previous release is a commit, whose tree `git archive` gives. As long as there is no
release, it is the first commit that serves on the schema of a newer version and on an older one. UPGRADE_BASE names
another commit.

The database is migrated first, so that processes of the previous release run on the new schema, or last, so that
processes of this version run on the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.type.v1.purpose_pb2 import PURPOSE_SCHOOL
from hutong.type.v1.refusal_ground_pb2 import REFUSAL_GROUND_NOT_TESTED_LOCALLY
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED, DECISION_REASON_SOURCE_UNAVAILABLE
from hutong.verification.v1.refusal_service_pb2 import (
    GetRefusalRequest,
    ReportRefusalRequest,
    ReportRefusalResponse,
    TrackRefusalRequest,
)
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client.connection import connect

from clients.examples.node import SERVICES
from services.domain.instant import DAY, HOUR, to_timestamp
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.databases import PostgresServer
from tests.support.link import Link, link_to
from tests.support.ports import free_address
from tests.support.processes import end, environment
from tests.support.results.uploaders import Laboratories
from tests.support.secrets import write_secret
from tests.support.verification.node import NUMBERS, calling, document
from tests.support.versions import Version
from tests.support.waiting import TIMEOUT_SECONDS, until

if not os.environ.get("UPGRADE_ROUNDS", ""):
    pytest.skip("make soak-upgrade runs these tests", allow_module_level=True)
FIRST = "fee43074"
"""The first commit that serves on both schemas. Its Verification does not repeat what a stopping source cancels."""
BASE = os.environ.get("UPGRADE_BASE", FIRST)
ROUNDS = int(os.environ["UPGRADE_ROUNDS"])
BATCHES, QUESTIONS = 10, 50
"""How many batches are acknowledged, and how many questions are answered, between two steps."""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The previous release."""
    found = Version.of_commit(BASE, tmp_path_factory.mktemp("before")) if shutil.which("git") else None
    if found is None:
        pytest.skip(f"this clone does not have the commit {BASE}")
    return found


class Gate(threading.Thread):
    """Asks about one person again and again, through the client library.

    Attributes:
        answered: how many questions have been answered.
        faults: the questions that failed, or were answered otherwise than the first.
        may_lack_a_source: whether Verification is of a version that finds a source unavailable if the source stops.
        lacks: how many questions were answered so.
    """

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.faults: list[str] = []
        self.may_lack_a_source = BASE == FIRST
        self.lacks = 0
        self._address = address
        self._enough = threading.Event()

    def run(self) -> None:
        request = VerifyRequest(document=document(NUMBERS[0]), region="410105", purpose=4)  # type: ignore[arg-type]
        with connect(verification=self._address) as connection:
            while not self._enough.is_set():
                try:
                    decision = connection.verification.Verify(request, timeout=TIMEOUT_SECONDS).decision
                except grpc.RpcError as error:
                    self.faults.append(str(error))
                else:
                    if self.may_lack_a_source and decision.reason == DECISION_REASON_SOURCE_UNAVAILABLE:
                        self.lacks += 1
                    elif decision.outcome != DECISION_OUTCOME_RECOGNIZED:
                        self.faults.append(str(decision))
                self.answered += 1

    def finish(self) -> None:
        """Stop asking. No question may have failed.

        Each source that was stopped may have been unavailable once to a Verification of the first version.
        """
        self._enough.set()
        self.join(TIMEOUT_SECONDS)
        assert not self.faults, self.faults[:3]
        assert self.lacks < len(SERVICES)


class Office:
    """Publishes a policy and reports a refusal at each step of the upgrade."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._refusals: list[ReportRefusalResponse] = []

    async def work(self) -> None:
        """Publish a policy that concerns no other question, and report a refusal. Neither may fail."""
        step = len(self._refusals)
        async with calling(self._addresses) as callers:
            await callers.publish("000000", DAY, purposes=(PURPOSE_SCHOOL,), policy_id="school")
            request = ReportRefusalRequest(
                region="410105",
                venue=f"Hotel {step}",
                purpose=4,  # type: ignore[arg-type]
                refuse_time=to_timestamp(SystemClock().now() - HOUR),
                grounds=[REFUSAL_GROUND_NOT_TESTED_LOCALLY],
                request_id=str(uuid.uuid4()),
            )
            self._refusals.append(await callers.refusals.ReportRefusal(request))

    async def check(self) -> None:
        """Check that every policy and refusal is stored, and that the code of each receipt leads to its refusal."""
        async with calling(self._addresses) as callers:
            for step, reported in enumerate(self._refusals):
                named = GetPolicyRequest(name=f"jurisdictions/000000/policies/school@{step + 1}")
                await callers.published.GetPolicy(named)
                name = reported.refusal.name
                found = (await callers.refusals.GetRefusal(GetRefusalRequest(name=name))).refusal
                assert found.venue == f"Hotel {step}"
                if reported.code:
                    tracked = await callers.refusals.TrackRefusal(TrackRefusalRequest(code=reported.code))
                    assert tracked.refusal.name == name
        assert self._refusals[-1].code


class Health:
    """Follows the health of one process."""

    def __init__(self, address: str) -> None:
        self._statuses: list[str] = []
        self._task = asyncio.ensure_future(self._follow(address))

    async def _follow(self, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watched: Any = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)  # type: ignore[attr-defined]
            async for answer in watched:
                self._statuses.append(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def wait(self) -> None:
        """Wait until the process is SERVING."""

        def is_well() -> bool:
            if self._task.done():
                self._task.result()
            return "SERVING" in self._statuses

        await until(is_well)

    async def finish(self) -> None:
        """Stop. Since the process was first SERVING, its health may not have changed."""
        assert not self._task.done(), "the process has ended its health"
        self.cancel()
        await asyncio.wait([self._task])
        assert self._statuses[self._statuses.index("SERVING") :] == ["SERVING"], self._statuses

    def cancel(self) -> None:
        """Stop, without a look at what was seen."""
        self._task.cancel()


class Node:
    """A node's services behind addresses that stay, one process each."""

    def __init__(self, directory: Path, urls: dict[str, str], links: dict[str, Link]) -> None:
        variables = {f"{service}_database_url": url for service, url in urls.items()}
        pepper = str(write_secret(directory / "pepper"))
        self.environment = environment(data_dir=str(directory), pepper_file=pepper, drain_seconds="5", **variables)
        self._directory = directory
        self._links = links
        self._processes: dict[str, subprocess.Popen[Any]] = {}
        self._health: dict[str, Health] = {}

    async def replace(self, service: str, version: Version) -> None:
        """Start a process of a version, and stop the process of the former version.

        New connections are directed to the new process once it is SERVING. The process calls the other services at
        their addresses.
        """
        address = free_address()
        addresses = {f"HUTONG_{name.upper()}_ADDRESS": link.address for name, link in self._links.items()}
        own = {**self.environment, **addresses, f"HUTONG_{service.upper()}_ADDRESS": address}
        with (self._directory / f"{service}.log").open("ab") as log:
            process = await asyncio.to_thread(version.serve, service, own, log)
        former, former_health = self._processes.get(service), self._health.get(service)
        self._processes[service] = process
        health = self._health[service] = Health(address)
        try:
            await health.wait()
            self._links[service].lead_to(address)
            if former_health is not None:
                await former_health.finish()
        finally:
            if former is not None:
                former.send_signal(signal.SIGTERM)
                code = await asyncio.to_thread(former.wait, TIMEOUT_SECONDS)
                end(former)
        assert former is None or code == 0

    async def finish(self) -> None:
        """Check that the health of every present process has not changed since the process was first SERVING."""
        for health in self._health.values():
            await health.finish()

    def close(self) -> None:
        """Kill what still runs. No process may have logged an error."""
        for health in self._health.values():
            health.cancel()
        for process in self._processes.values():
            end(process)
        for service in SERVICES:
            log = (self._directory / f"{service}.log").read_text(encoding="utf-8")
            assert '"level":"error"' not in log, log[-3000:]


@contextlib.asynccontextmanager
async def opened_node(
    directory: Path, urls: dict[str, str], version: Version
) -> AsyncIterator[tuple[Node, dict[str, str]]]:
    """Run a node of a version. Yield it and the addresses that stay."""
    async with contextlib.AsyncExitStack() as stack:
        links = {name: await stack.enter_async_context(link_to(free_address())) for name in SERVICES}
        node = Node(directory, urls, links)
        stack.callback(node.close)
        await asyncio.to_thread(version.migrate, node.environment)
        for service in SERVICES:
            await node.replace(service, version)
        yield node, {name: link.address for name, link in links.items()}
        await node.finish()


@pytest.mark.parametrize("order", ["migrated first", "migrated last"])
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_an_upgrade_under_load_has_no_error(
    round_: int, order: str, tmp_path: Path, own_server: PostgresServer, before: Version
) -> None:
    """Uploads go on and are stored once. Every question about one person gets the same answer.

    Each process is SERVING from its start until it is stopped. At each step a policy is published and a refusal is
    reported. All of them are stored at the end.
    """
    urls = {service: own_server.make_empty() for service in SERVICES}
    now = Version()
    async with opened_node(tmp_path, urls, before) as (node, addresses):
        async with calling(addresses) as callers:
            await callers.create_lab()
            await callers.upload(NUMBERS[0], "R-gate", SystemClock().now() - HOUR)
            await callers.publish("000000", 2 * DAY)
        laboratories, gate = Laboratories(addresses["results"]), Gate(addresses["verification"])
        office = Office(addresses)

        async def work() -> None:
            await asyncio.to_thread(laboratories.wait_for_batches, BATCHES)
            asked = gate.answered
            await until(lambda: gate.answered >= asked + QUESTIONS)
            await office.work()

        await asyncio.to_thread(laboratories.start)
        gate.start()
        await work()
        if order == "migrated first":
            await asyncio.to_thread(now.migrate, node.environment)
            await work()
        for service in SERVICES:
            await node.replace(service, now)
            gate.may_lack_a_source &= service != "verification"
            await work()
        if order == "migrated last":
            await asyncio.to_thread(now.migrate, node.environment)
        await work()
        await asyncio.to_thread(gate.finish)
        await office.check()
        await asyncio.to_thread(laboratories.finish)
    with contextlib.closing(open_database(urls["results"])) as database:
        database.read_now(laboratories.check)
    for url in urls.values():
        own_server.drop(url)
