"""A node is restored from a copy of its store that is older than what others know of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest
from hutong.results.v1.results_service_pb2 import ImportResultsRequest
from sqlalchemy import make_url

from services.domain.instant import to_timestamp
from services.results import tables
from services.results.model import RECALLED
from services.runtime.clock import SystemClock
from tests.databases import MakeUrl
from tests.labwork import LAB_NAME, make_document, make_tubes
from tests.rpc.country import HENAN, JILIN, Member, open_member, until
from tests.rpc.link import Link, link_to


class Copy:
    """An SQLite store as it was once."""

    def __init__(self, url: str, path: Path) -> None:
        self._store = Path(make_url(url).database or "")
        self._path = path
        with contextlib.closing(sqlite3.connect(self._store)) as store, contextlib.closing(sqlite3.connect(path)) as to:
            store.backup(to)

    def restore(self) -> None:
        """Put it in the store's place. Nobody may have the store open."""
        for beside in ("-wal", "-shm"):
            Path(f"{self._store}{beside}").unlink(missing_ok=True)
        self._store.write_bytes(self._path.read_bytes())


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Holds open what a test opens."""
    async with contextlib.AsyncExitStack() as opened:
        yield opened


async def recall_everything(member: Member) -> None:
    """Its laboratory takes all reports back."""
    request = RecallResultsRequest(lab=LAB_NAME, report_start_time=to_timestamp(0), reason="contaminated")
    request.report_end_time.CopyFrom(to_timestamp(SystemClock().now()))
    await member.node.admin.RecallResults(request)


async def test_followings_that_a_restored_nation_lost_are_renewed(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """Where nothing else was ever told to the province: a later recall reaches its copies."""
    url = sqlite_url("results")
    async with open_member(tmp_path / "nation", url, "000000") as nation:
        link: Link = await stack.enter_async_context(link_to(nation.address))
        jilin, henan = [
            await stack.enter_async_context(
                open_member(tmp_path / region, sqlite_url("results"), region, upstream=link.address)
            )
            for region in (JILIN, HENAN)
        ]
        await jilin.node.register()
        await jilin.node.upload(make_tubes(3))
        await until(lambda: len(nation.results()) == 3)
        copy = Copy(url, tmp_path / "nation.copy")
        await henan.node.results.ImportResults(ImportResultsRequest(document=make_document(0)))
        await until(lambda: henan.rows(tables.notice_places, "dealt") == [(1,)])
    copy.restore()
    nation = await stack.enter_async_context(open_member(tmp_path / "nation", url, "000000"))
    link.lead_to(nation.address)
    await recall_everything(jilin)
    await until(lambda: len(nation.results()) == 6)
    await until(lambda: (2, RECALLED) in henan.rows(tables.results, "revision", "state"))
    assert nation.rows(tables.followed_subjects, "node") == [(HENAN,)]
