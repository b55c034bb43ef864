"""The three services behind pgbouncer in transaction mode (docs/operations.md §2).

`make check-tools` runs these tests, because they need pgbouncer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psycopg
import pytest
from hutong.results.v1 import upload_pb2
from hutong.results.v1.results_service_pb2 import WatchResultsRequest
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.verification.v1.decision_pb2 import DECISION_OUTCOME_RECOGNIZED
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from sqlalchemy import Connection, text

from services.domain.errors import HutongError
from services.domain.instant import DAY, HOUR
from services.runtime.clock import SystemClock
from services.storage.advisory_locks import AdvisoryLock
from services.storage.connections import has_unlimited_reads
from services.storage.engine import Database, open_database
from services.storage.errors import UnusableDatabase
from services.storage.migrate import upgrade
from services.storage.process_lock import try_process_lock
from tests.support.databases import PostgresServer
from tests.support.pooler import pooled, pooled_url
from tests.support.processes import hutongd
from tests.support.results.factories import make_document, make_tube
from tests.support.results.node import batch_of, start
from tests.support.verification.node import LAB, NUMBERS, SERVICES, Callers, Node, calling, paper, question
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

if TYPE_CHECKING:
    from hutong.results.v1.results_service_pb2_grpc import ResultsServiceAsyncStub

WANTED = os.environ.get("HUTONG_CHECK_TOOLS", "")
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
if not WANTED:
    pytest.skip("make check-tools runs these tests", allow_module_level=True)
if not PGBOUNCER and WANTED != "required":
    pytest.skip("pgbouncer is not installed (Debian: pgbouncer)", allow_module_level=True)

TUBES, PARTS, BATCH = 20_000, 4, 1_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    made = PostgresServer(tmp_path_factory.mktemp("pooled") / "data", synced=False)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def address(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where pgbouncer listens."""
    assert PGBOUNCER, "pgbouncer is not installed (Debian: pgbouncer)"
    with pooled(PGBOUNCER, server, tmp_path_factory.mktemp("pgbouncer")) as at:
        host, _, port = at.rpartition(":")

        def answers() -> bool:
            try:
                psycopg.connect(host=host, port=port, user="postgres", dbname="postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers)
        yield at


@pytest.fixture
def bare_url(server: PostgresServer, address: str) -> str:
    """The URL of an empty database through the pooler, which does not say so."""
    return pooled_url(server.make_empty(), address)


@pytest.fixture
def url(bare_url: str) -> str:
    return f"{bare_url}?pooler=transaction"


def test_a_pooler_that_the_url_does_not_name_is_refused(bare_url: str) -> None:
    with pytest.raises(UnusableDatabase, match="add pooler=transaction to the URL"):
        upgrade("policy", bare_url)
    database = open_database(bare_url)
    with pytest.raises(UnusableDatabase, match="add pooler=transaction to the URL"):
        database.read_now(lambda connection: connection.execute(text("SELECT 1")))
    database.close()


def statement_timeout(connection: Connection) -> str:
    return str(connection.execute(text("SHOW statement_timeout")).scalar_one())


def timeouts_of_others(_connection: Connection, database: Database) -> set[str]:
    """The limits that reads of other threads have meanwhile."""
    with ThreadPoolExecutor(10) as threads:
        return set(threads.map(database.read_now, [statement_timeout] * 50))


def double(connection: Connection, number: int) -> int:
    return int(connection.execute(text("SELECT 2 * CAST(:number AS integer)"), {"number": number}).scalar_one())


def wait_too_long(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 1"))
    connection.execute(text("SELECT pg_sleep(60)"))


def test_locks_settings_and_statements_survive(url: str) -> None:
    """A lock has one holder whatever sessions the transactions get, and a setting ends with its transaction."""
    one, other = open_database(url), open_database(url)

    def is_free() -> bool:
        with try_process_lock(other, "sender", AdvisoryLock.SENDER) as is_held:
            return is_held

    try:
        with try_process_lock(one, "sender", AdvisoryLock.SENDER) as is_held:
            assert is_held
            with ThreadPoolExecutor(10) as threads:
                assert list(threads.map(partial(one.read_now, double), range(50))) == list(range(0, 100, 2))
            assert not is_free()
        assert is_free()
        assert asyncio.run(one.read_in_bulk(timeouts_of_others, one)) == {"0"}
        assert one.write_now(statement_timeout) == "1min"
        with pytest.raises(HutongError):
            one.write_now(wait_too_long)
        assert one.write_now(statement_timeout) == "1min"
        assert has_unlimited_reads(url)
    finally:
        one.close()
        other.close()


async def send(callers: Callers, upload_id: str, tubes: list[upload_pb2.Tube]) -> None:
    """Make one upload whose tubes must all be accepted."""
    frames = [start(upload_id, LAB)]
    frames += [batch_of(tubes[at : at + BATCH], at) for at in range(0, len(tubes), BATCH)]
    call: Any = callers.uploads.UploadResults(iter(frames), timeout=TIMEOUT_SECONDS)
    assert sum([answer.accepted_count async for answer in call]) == len(tubes)


async def count_watched(results: ResultsServiceAsyncStub, count: int) -> int:
    """Watch from the beginning until `count` changes have come. Return how many reports they are of."""
    seen: list[str] = []
    async for message in results.WatchResults(WatchResultsRequest(), timeout=TIMEOUT_SECONDS):
        if message.HasField("change"):
            seen.append(message.change.report_number)
        if len(seen) == count:
            break
    return len(set(seen))


async def test_the_services_behind_a_pooler(tmp_path: Path, url: str) -> None:
    """Large uploads, a watch, look-ups, decisions and a purge, with fewer sessions than connections."""
    now = SystemClock().now()
    node = Node(tmp_path, **dict.fromkeys(SERVICES, url))
    variables = {f"{name}_database_url": url for name in SERVICES} | {
        "data_dir": str(tmp_path),
        "pepper_file": str(tmp_path / "pepper-of-tests"),
        "jurisdiction": "000000",
    }
    # Two migrators at once: one migrates, the other waits for it.
    done = await asyncio.gather(*(asyncio.to_thread(hutongd, "migrate", **variables) for _ in range(2)))
    assert [one.returncode for one in done] == [0, 0], done
    try:
        await node.start(*SERVICES)
        async with calling(node.addresses) as callers, grpc.aio.insecure_channel(node.addresses["results"]) as channel:
            await callers.create_lab()
            size = TUBES // PARTS
            tubes = [make_tube(person, reported=now - HOUR) for person in range(TUBES)]
            await asyncio.gather(*(send(callers, f"u{at}", tubes[at : at + size]) for at in range(0, TUBES, size)))
            assert await count_watched(ResultsServiceStub(channel), TUBES) == TUBES
            policy = await callers.publish("000000", 2 * DAY)
            asked = [
                VerifyRequest(document=make_document(person), region="410105", purpose=4, at_least_as_fresh=policy)  # type: ignore[arg-type]
                for person in range(0, TUBES, 100)
            ]
            found = await asyncio.gather(*(callers.decisions.Verify(one, timeout=TIMEOUT_SECONDS) for one in asked))
            assert {one.decision.outcome for one in found} == {DECISION_OUTCOME_RECOGNIZED}
            shown = question(NUMBERS[1], evidence=[paper("P1", now - HOUR)])
            assert (await callers.decisions.Verify(shown)).decision.name
            await send(callers, "old", [make_tube(TUBES, reported=now - 70 * DAY)])
            purged = await asyncio.to_thread(hutongd, "purge", "--older-than", "30d", **variables)
            assert purged.returncode == 0, purged.stderr
            assert "results report_keys" in purged.stdout
            again = await callers.decisions.Verify(asked[0])
            assert again.decision.outcome == DECISION_OUTCOME_RECOGNIZED
    finally:
        await node.close()
    for name in SERVICES:
        assert "Traceback" not in node.log(name)
