"""pgbouncer is killed under load, again and again (docs/operations.md §2). `make soak-pooler` runs it in rounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import pytest

from services.domain.instant import DAY, HOUR
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.support.databases import PostgresServer
from tests.support.load import LoadedNode
from tests.support.pooler import pooled, pooled_url
from tests.support.ports import free_address
from tests.support.verification.node import NUMBERS, SERVICES, Node, calling

ROUNDS = int(os.environ.get("POOLER_ROUNDS", "0"))
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
if not ROUNDS:
    pytest.skip("make soak-pooler runs this test", allow_module_level=True)


async def test_a_pooler_that_is_killed_loses_nothing_that_was_acknowledged(
    tmp_path: Path, own_server: PostgresServer
) -> None:
    """Clients try again, and the services find the new pooler by themselves."""
    assert PGBOUNCER, "pgbouncer is not installed (Debian: pgbouncer)"
    address = free_address()
    direct = {service: own_server.make(service) for service in SERVICES}
    node = Node(tmp_path, **{name: f"{pooled_url(url, address)}?pooler=transaction" for name, url in direct.items()})
    with contextlib.ExitStack() as pooler:
        pooler.enter_context(pooled(PGBOUNCER, own_server, tmp_path, address))
        try:
            await node.start(*SERVICES)
            async with calling(node.addresses) as callers:
                loaded = LoadedNode(node.addresses, callers)
                await callers.create_lab()
                await callers.publish("000000", 2 * DAY)
                await callers.upload(NUMBERS[0], "first", SystemClock().now() - HOUR)
                await loaded.start()
                for _ in range(ROUNDS):
                    await loaded.go_on()
                    await asyncio.to_thread(pooler.close)
                    pooler.enter_context(pooled(PGBOUNCER, own_server, tmp_path, address))
                await loaded.go_on()
                await loaded.finish()
        finally:
            await node.close()
    assert loaded.load.failed > 0, "no call met a pooler that was away"
    with contextlib.closing(open_database(direct["results"])) as database:
        database.read_now(loaded.laboratories.check)
    for url in direct.values():
        own_server.drop(url)
