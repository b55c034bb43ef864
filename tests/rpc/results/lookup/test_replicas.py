"""Look-ups that a hot standby of PostgreSQL answers, and look-ups that it must not answer."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hutong.results.v1.lookup_pb2 import CLAIMED_REPORT_MATCH_STATE_FOUND, ClaimedReport
from hutong.results.v1.results_service_pb2 import LookupLatestRequest, LookupLatestResponse
from prometheus_client import REGISTRY

from services.command.doctor.findings import Level
from services.command.doctor.servers import check_replicas
from services.results.timing import ResultsTiming
from services.runtime.configuration.settings import Settings
from tests.support.databases import PostgresServer
from tests.support.results.factories import LAB_NAME, make_document, make_tube
from tests.support.results.node import ResultsNode, results_node
from tests.support.secrets import write_secret
from tests.support.standby import CopiedServer, copied, standby_folder
from tests.support.waiting import TIMEOUT_SECONDS, until, wait_until

QUICK = ResultsTiming(replica_poll=0.05, replica_read=TIMEOUT_SECONDS)
FAR_BEHIND = str(TIMEOUT_SECONDS * 10)
"""A lag in seconds that no standby of a test exceeds."""


@pytest.fixture(scope="module")
def followed(fragile_server: PostgresServer) -> Iterator[CopiedServer]:
    with standby_folder() as folder, copied(fragile_server, folder, "replica", follows=True) as standby:
        yield standby


@pytest.fixture
def standby(own_server: PostgresServer, followed: CopiedServer) -> Iterator[CopiedServer]:
    yield followed
    followed.ask("SELECT pg_wal_replay_resume()")


@contextlib.asynccontextmanager
async def node_with(
    server: PostgresServer, standby: CopiedServer, directory: Path, lag: str = FAR_BEHIND, timing: ResultsTiming = QUICK
) -> AsyncIterator[ResultsNode]:
    """Run a node on a new database whose copy the standby has, and wait until look-ups use it."""
    url = server.make("results")
    replica = {"results_replica_url": standby.url(url), "results_replica_lag_seconds": lag}
    async with results_node(directory, url, timing=timing, **replica) as node:
        await node.register()
        await until(lambda: is_used(standby))
        yield node
    server.drop(url)


def test_the_doctor_looks_at_replicas(own_server: PostgresServer, standby: CopiedServer, tmp_path: Path) -> None:
    """A standby that follows is OK.

    A standby that lags is a warning. The primary itself and a silent server are faults.
    """
    url = own_server.make("results")
    pepper = str(write_secret(tmp_path / "pepper"))

    def findings(*urls: str, lag: str = "0.2") -> list[tuple[int, str]]:
        given = {"results_database_url": url, "results_replica_url": " ".join(urls), "results_replica_lag_seconds": lag}
        variables = {f"HUTONG_{name.upper()}": value for name, value in {**given, "pepper_file": pepper}.items()}
        return [(one.level, str(one.text)) for one in check_replicas(Settings.from_environment(variables))]

    copy = standby.url(url)
    wait_until(lambda: findings(copy) == [(Level.OK, "follows the primary")])
    silent = f"postgresql://postgres@/results?host={tmp_path}"
    (of_primary, of_silent) = findings(url, silent)
    assert (of_primary[0], "is no standby" in of_primary[1]) == (Level.FAULT, True)
    assert (of_silent[0], "does not answer" in of_silent[1]) == (Level.FAULT, True)
    standby.ask("SELECT pg_wal_replay_pause()")
    own_server.drop(own_server.make("results"))
    ((level, text),) = findings(copy)
    assert (level, "behind" in text) == (Level.WARNING, True)
    standby.ask("SELECT pg_wal_replay_resume()")
    own_server.drop(url)


def is_used(standby: CopiedServer) -> bool:
    return REGISTRY.get_sample_value("hutong_replica_used", {"replica": str(standby.socket)}) == 1


def reads(standby: CopiedServer) -> float:
    """How many look-ups the standby has answered."""
    return REGISTRY.get_sample_value("hutong_replica_reads_total", {"replica": str(standby.socket)}) or 0.0


def fallbacks(cause: str) -> float:
    return REGISTRY.get_sample_value("hutong_replica_fallbacks_total", {"cause": cause}) or 0.0


async def upload(node: ResultsNode, person: int) -> str:
    """Upload one report of a person. Return its token."""
    return (await node.upload([make_tube(person)], f"u{person}"))[-1].consistency_token


async def look_up(node: ResultsNode, person: int, token: str = "", **more: object) -> LookupLatestResponse:
    request = LookupLatestRequest(document=make_document(person), at_least_as_fresh=token, **more)  # type: ignore[arg-type]
    return await node.results.LookupLatest(request, timeout=TIMEOUT_SECONDS)


def numbers(found: LookupLatestResponse) -> list[str]:
    return [one.report_number for one in (*found.in_region, *found.out_of_region)]


async def test_a_standby_answers_once_it_has_the_tokens_commit(
    own_server: PostgresServer, standby: CopiedServer, tmp_path: Path
) -> None:
    """Before that the primary answers. A look-up without a token may be behind, and its source then says so."""
    async with node_with(own_server, standby, tmp_path) as node:
        first = await upload(node, 0)

        async def answered_by_standby() -> bool:
            before = reads(standby)
            assert numbers(await look_up(node, 0, first)) == ["R0"]
            return reads(standby) > before

        await until(answered_by_standby)
        standby.ask("SELECT pg_wal_replay_pause()")
        second = await upload(node, 1)
        before = fallbacks("token")
        assert numbers(await look_up(node, 1, second)) == ["R1"]
        assert fallbacks("token") == before + 1
        assert numbers(await look_up(node, 0, first)) == ["R0"]
        behind = await look_up(node, 1)
        assert numbers(behind) == []
        assert behind.sources[0].as_of_time.ToNanoseconds() < node.clock.now() * 1000
        standby.ask("SELECT pg_wal_replay_resume()")

        async def has_come() -> bool:
            return numbers(await look_up(node, 1)) == ["R1"]

        await until(has_come)


async def test_a_standby_that_is_behind_the_limit_answers_nothing(
    own_server: PostgresServer, standby: CopiedServer, tmp_path: Path
) -> None:
    async with node_with(own_server, standby, tmp_path, "0.4") as node:
        standby.ask("SELECT pg_wal_replay_pause()")
        await upload(node, 0)
        await until(lambda: not is_used(standby))
        before = fallbacks("none is fresh")
        assert numbers(await look_up(node, 0)) == ["R0"]
        assert fallbacks("none is fresh") == before + 1
        standby.ask("SELECT pg_wal_replay_resume()")
        await until(lambda: is_used(standby))


async def test_a_report_that_the_standby_lacks_is_not_asked_of_its_laboratory(
    own_server: PostgresServer, standby: CopiedServer, tmp_path: Path
) -> None:
    async with node_with(own_server, standby, tmp_path) as node:
        standby.ask("SELECT pg_wal_replay_pause()")
        await upload(node, 0)
        before = fallbacks("claimed report")
        found = await look_up(node, 0, claimed_reports=[ClaimedReport(lab=LAB_NAME, report_number="R0")])
        assert [one.state for one in found.claims] == [CLAIMED_REPORT_MATCH_STATE_FOUND]
        assert not found.next_steps
        assert fallbacks("claimed report") == before + 1


async def test_a_standby_that_hangs_or_is_killed_costs_no_answer(
    own_server: PostgresServer, standby: CopiedServer, tmp_path: Path
) -> None:
    timing = ResultsTiming(replica_poll=0.05, replica_read=0.3)
    async with node_with(own_server, standby, tmp_path, timing=timing) as node:
        await upload(node, 0)
        standby.send(signal.SIGSTOP)
        try:
            for _ in range(20):
                assert numbers(await look_up(node, 0)) == ["R0"]
            await until(lambda: not is_used(standby))
        finally:
            standby.send(signal.SIGCONT)
        await until(lambda: is_used(standby))
        standby.kill()
        try:
            for _ in range(20):
                assert numbers(await look_up(node, 0)) == ["R0"]
            await until(lambda: not is_used(standby))
        finally:
            standby.start()
        await until(lambda: is_used(standby))


async def test_a_standby_that_does_not_follow_the_primary_is_not_used(
    own_server: PostgresServer, standby: CopiedServer, tmp_path: Path
) -> None:
    """After a start the primary may have another history, until the standby has an entry of the primary's new life."""
    async with node_with(own_server, standby, tmp_path) as node:
        await upload(node, 0)
        standby.ask("SELECT pg_wal_replay_pause()")
        own_server.halt()
        own_server.resume()
        await until(lambda: not is_used(standby))

        async def answers() -> bool:
            return numbers(await look_up(node, 0)) == ["R0"]

        await until(answers)
        assert not is_used(standby)
        standby.ask("SELECT pg_wal_replay_resume()")
        await until(lambda: is_used(standby))


async def test_a_promoted_standby_is_not_used(own_server: PostgresServer, tmp_path: Path) -> None:
    with standby_folder() as folder, copied(own_server, folder, "promoted", follows=True) as standby:
        async with node_with(own_server, standby, tmp_path) as node:
            await upload(node, 0)
            standby.ask("SELECT pg_promote()")
            await until(lambda: not is_used(standby))
            assert numbers(await look_up(node, 0)) == ["R0"]
