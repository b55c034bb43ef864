"""A node on PostgreSQL is restored under load to an earlier instant (docs/backup.md §3). `make soak-restore` runs it.

What was acknowledged before the instant is there. Tokens of what was acknowledged later are recognised as lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from services.domain.instant import DAY
from services.results.changelog.lives import find_lost
from services.storage.engine import open_database
from tests.support.databases import PostgresServer
from tests.support.load import LoadedNode, upload_report
from tests.support.processes import hutongd
from tests.support.results.factories import LABS
from tests.support.standby import copied, copy_data, standby_folder
from tests.support.verification.node import SERVICES, Node, calling
from tests.support.waiting import wait_until

ROUNDS = int(os.environ.get("RESTORE_ROUNDS", "0"))
if not ROUNDS:
    pytest.skip("make soak-restore runs this test", allow_module_level=True)
INSTANT = """SELECT to_char(clock_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.USOF')"""


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_a_restored_node_has_what_was_acknowledged_before_the_instant(
    round_: int, tmp_path: Path, own_server: PostgresServer
) -> None:
    databases = {service: own_server.make(service) for service in SERVICES}
    with standby_folder() as folder, contextlib.ExitStack() as stack:
        archive = folder / "archive"
        archive.mkdir()
        archive.chmod(0o777)
        archiving = {
            "archive_mode": "on",
            "archive_command": f"cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f",
        }
        server = stack.enter_context(copied(own_server, folder, "one", follows=False, settings=archiving))
        urls = {service: server.url(url) for service, url in databases.items()}
        node = Node(tmp_path, **urls)
        variables = {f"{service}_database_url": url for service, url in urls.items()} | {
            "data_dir": str(tmp_path),
            "pepper_file": str(tmp_path / "pepper-of-tests"),
            "jurisdiction": "000000",
        }
        try:
            await node.start(*SERVICES)
            async with calling(node.addresses) as callers:
                await callers.create_lab()
                await callers.publish("000000", 2 * DAY)
                early = await upload_report(callers, "early")
                loaded = LoadedNode(node.addresses, callers)
                await loaded.start()
                await loaded.go_on()
                base = await asyncio.to_thread(copy_data, server, folder / "base")
                await loaded.go_on()
                kept = await upload_report(callers, "kept")
                policies, refusals = dict(loaded.load.policies), list(loaded.load.refusals)
                instant = await asyncio.to_thread(server.ask, INSTANT)
                await loaded.go_on()
                gone = await upload_report(callers, "gone")
                await loaded.finish()
            segment = archive / server.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
            server.ask("SELECT pg_switch_wal()")
            await asyncio.to_thread(wait_until, segment.exists)
            for service in SERVICES:
                await node.stop(service)
            server.stop()
            recovery = {
                "restore_command": f"cp {archive}/%f %p",
                "recovery_target_time": instant,
                "recovery_target_action": "promote",
            }
            server.restore(base, recovery)
            await asyncio.to_thread(wait_until, lambda: server.ask("SELECT NOT pg_is_in_recovery()"))
            recorded = await asyncio.to_thread(hutongd, "audit", "record-restore", "--copy-of", instant, **variables)
            assert recorded.returncode == 0, recorded.stderr
            await node.start(*SERVICES)
            async with calling(node.addresses) as callers:
                again = LoadedNode(node.addresses, callers, "again", LABS["370000"])
                again.load.policies, again.load.refusals = policies, refusals
                await again.start()
                await again.go_on()
                await again.finish()
            verified = await asyncio.to_thread(hutongd, "audit", "verify", **variables)
            assert verified.returncode == 0, verified.stdout
        finally:
            await node.close()
        with contextlib.closing(open_database(urls["results"])) as database:
            assert database.read_now(find_lost, [early, kept, gone]) == {gone}
    for url in databases.values():
        own_server.drop(url)
