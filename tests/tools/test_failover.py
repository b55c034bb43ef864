"""The primary PostgreSQL of a node is killed under load, and a synchronous standby takes over (docs/operations.md §2).

`make check-tools` plays it once, and `make soak-failover` in rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from services.domain.instant import DAY
from services.results.changelog.lives import find_lost
from services.runtime.consistency import LogPosition
from services.storage.engine import open_database
from tests.support.databases import PostgresServer
from tests.support.load import LoadedNode, upload_report
from tests.support.pages import block
from tests.support.ports import free_address
from tests.support.standby import CopiedServer, copied, standby_folder
from tests.support.verification.node import SERVICES, Node, calling
from tests.support.waiting import wait_until

if not os.environ.get("HUTONG_CHECK_TOOLS", ""):
    pytest.skip("make check-tools runs these tests", allow_module_level=True)
ROUNDS = int(os.environ.get("FAILOVER_ROUNDS", "1"))


@pytest.fixture
def databases(own_server: PostgresServer) -> Iterator[dict[str, str]]:
    """The databases that are copied with the servers."""
    urls = {service: own_server.make(service) for service in SERVICES}
    yield urls
    for url in urls.values():
        own_server.drop(url)


@pytest.fixture
def servers(own_server: PostgresServer, databases: dict[str, str]) -> Iterator[tuple[CopiedServer, CopiedServer]]:
    """A primary with the databases, and a hot standby without which the primary acknowledges nothing."""
    with (
        standby_folder() as folder,
        copied(own_server, folder, "one", follows=False, address=free_address()) as primary,
        copied(primary, folder, "two", follows=True, address=free_address()) as standby,
    ):
        steps = block("docs/operations.md", "sh", "ALTER SYSTEM SET synchronous_standby_names")
        wait_until(lambda: primary.follow(steps).endswith("two\n"))
        yield primary, standby


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_a_failover_loses_nothing_that_was_acknowledged(
    round_: int, tmp_path: Path, databases: dict[str, str], servers: tuple[CopiedServer, CopiedServer]
) -> None:
    """Clients try again, the services find the standby by themselves, and a new life of the database begins.

    The connections are TCP, as between machines. The killed primary resets them, and no call waits for ever.
    """
    primary, standby = servers
    urls = {
        service: f"postgresql://postgres@{primary.address},{standby.address}/{make_url(url).database}"
        for service, url in databases.items()
    }
    node = Node(tmp_path, **urls)
    try:
        await node.start(*SERVICES)
        async with calling(node.addresses) as callers:
            loaded = LoadedNode(node.addresses, callers)
            await callers.create_lab()
            await callers.publish("000000", 2 * DAY)
            before = await upload_report(callers, "before")
            await loaded.start()
            await loaded.go_on()
            primary.kill()
            answers = await asyncio.to_thread(standby.follow, block("docs/operations.md", "sh", "pg_promote"))
            assert answers.split() == ["t", "f"]
            await loaded.go_on()
            after = await upload_report(callers, "after")
            await loaded.finish()
    finally:
        await node.close()
    assert loaded.load.failed > 0, "no call met the failover"
    assert before.life != after.life
    with contextlib.closing(open_database(standby.url(databases["results"]))) as database:
        database.read_now(loaded.laboratories.check)
        unknown = LogPosition(before.life, before.writer, after.sequence + 1_000)
        assert database.read_now(find_lost, [before, after, unknown]) == {unknown}
