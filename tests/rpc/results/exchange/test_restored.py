"""A node is restored from a copy of its store that is older than what other nodes have of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.type.interval_pb2 import Interval
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, UnlinkDocumentsRequest
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.type.v1 import outcome_pb2

from services.command.audit import verify_audit
from services.command.backup.make import back_up
from services.command.backup.restore import restore
from services.domain.instant import to_timestamp
from services.results.documents.tables import document_links, link_end_requests
from services.results.exchange.tables import (
    notification_positions,
    notifications,
    subscription_positions,
    subscriptions,
)
from services.results.records.model import ACTIVE, RECALLED
from services.results.records.tables import report_keys, results
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.link import Link, link_to
from tests.support.restored import Copy
from tests.support.results.country import HENAN, HENAN_USCC, JILIN, Member, laboratory, open_member
from tests.support.results.factories import LAB_NAME, POSITIVE, make_document, make_tube, make_tubes
from tests.support.servers import settings_for
from tests.support.waiting import until


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Keeps the services of a test open and closes them with it."""
    async with contextlib.AsyncExitStack() as opened:
        yield opened


async def recall_everything(member: Member) -> None:
    """Recall all reports of the node's laboratory."""
    request = RecallResultsRequest(
        lab=LAB_NAME,
        report_interval=Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now())),
        reason="contaminated",
    )
    await member.node.admin.RecallResults(request)


async def test_followings_that_a_restored_nation_lost_are_renewed(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """Only the laboratory's registration and the subscription are notifications. A later recall reaches the copies."""
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
        await until(lambda: henan.rows(notification_positions, "processed") == [(1,)])
        copy = Copy(url, tmp_path / "nation.copy")
        await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(0)))
        await until(lambda: henan.rows(notification_positions, "processed") == [(2,)])
    copy.restore()
    nation = await stack.enter_async_context(open_member(tmp_path / "nation", url, "000000"))
    link.lead_to(nation.address)
    await recall_everything(jilin)
    await until(lambda: len(nation.results()) == 6)
    await until(lambda: (2, RECALLED) in henan.rows(results, "revision", "state"))
    assert nation.rows(subscriptions, "node") == [(HENAN,)]


async def test_a_subscription_is_renewed_that_a_restored_nation_lost_before_it_sent_the_notification(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """The restored nation knows the cursor. Henan notices the loss by the number in the answer to its subscription."""
    url = sqlite_url("results")
    # The nation sends what is there when a watch begins, and nothing after that.
    silent = ResultsTiming(notification_poll=600, notification_heartbeat=600)
    async with open_member(tmp_path / "nation", url, "000000", timing=silent) as nation:
        link: Link = await stack.enter_async_context(link_to(nation.address))
        jilin = await stack.enter_async_context(
            open_member(tmp_path / JILIN, sqlite_url("results"), JILIN, upstream=nation.address)
        )
        await jilin.node.register()
        await jilin.node.upload(make_tubes(3))
        await until(lambda: len(nation.results()) == 3)
        henan = await stack.enter_async_context(
            open_member(tmp_path / HENAN, sqlite_url("results"), HENAN, upstream=link.address)
        )
        await until(lambda: henan.rows(notification_positions, "processed") == [(1,)])
        copy = Copy(url, tmp_path / "nation.copy")
        await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(0)))
        assert henan.rows(notification_positions, "processed") == [(1,)]
        assert henan.rows(subscription_positions, "number") == [(2,)]
        await link.cut()
    copy.restore()
    nation = await stack.enter_async_context(open_member(tmp_path / "nation", url, "000000"))
    link.lead_to(nation.address)
    link.mend()
    await until(lambda: nation.rows(subscriptions, "node") == [(HENAN,)])


async def test_what_a_restored_province_tells_otherwise_is_counted_and_stands(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """The newest revision of a report wins at the nation and in copies, whatever they had. Replays change nothing."""
    nation = await stack.enter_async_context(open_member(tmp_path / "nation", sqlite_url("results"), "000000"))
    henan_at = open_member(tmp_path / "henan", sqlite_url("results"), HENAN, upstream=nation.address)
    henan = await stack.enter_async_context(henan_at)
    url, directory = sqlite_url("results"), tmp_path / "jilin"
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        await jilin.node.register()
        await jilin.node.upload(make_tubes(2))
        await until(lambda: len(nation.results()) == 2)
        copy = Copy(url, tmp_path / "jilin.copy")
        await correct(jilin, "R0", POSITIVE)
        await jilin.node.upload([make_tube(50)], "lost")
        await until(lambda: len(nation.results()) == 4)
    await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(50)))
    copy.restore()
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        await jilin.node.upload([make_tube(50, outcome=POSITIVE), make_tube(51)], "again")
        await until(lambda: newest(nation)["R50"] == (2, ACTIVE, POSITIVE))
        await until(lambda: newest(henan)["R50"] == (2, ACTIVE, POSITIVE))
        await recall_everything(jilin)
        recalled = {"R0": 3, "R1": 2, "R50": 3, "R51": 2}
        expected = {number: (revision, RECALLED) for number, revision in recalled.items()}
        await until(lambda: {number: row[:2] for number, row in newest(nation).items()} == expected)
        await until(lambda: newest(henan)["R50"][:2] == (3, RECALLED))
        assert [node.conflict_count for node in await nation.nodes() if node.name == "nodes/220000"] == [3]
    before = nation.results()
    again = Copy(url, tmp_path / "again.copy")
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        (lost,) = await jilin.node.upload([make_tube(60)], "lost-too")
        await until(lambda: "R60" in newest(nation))
    again.restore()
    # The whole log is sent again, and then its new entries.
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        await jilin.node.upload([make_tube(61)], "last")
        await until(lambda: "R61" in newest(nation))
        assert [row for row in nation.results() if row[1] not in ("R60", "R61")] == before
        # The nation has what the lost upload's token stands for. Jilin has lost it, and says so without a wait.
        token = LookupLatestRequest(document=make_document(60), at_least_as_fresh=lost.consistency_token)
        assert (await nation.node.results.LookupLatest(token)).in_region
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await jilin.node.results.LookupLatest(token)
        assert error_info(caught.value).metadata == {"node": f"nodes/{JILIN}", "lost": "true"}


async def test_a_report_that_a_restored_province_gives_another_person_stays_the_first_ones(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """Later revisions of the restored province's report count as conflicts too, and change nothing."""
    nation = await stack.enter_async_context(open_member(tmp_path / "nation", sqlite_url("results"), "000000"))
    url, directory = sqlite_url("results"), tmp_path / "jilin"
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        await jilin.node.register()
        copy = Copy(url, tmp_path / "jilin.copy")
        await jilin.node.upload([make_tube(50)], "lost")
        await until(lambda: len(nation.results()) == 1)
    before = nation.results()
    copy.restore()
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        other = make_tube(51)
        other.persons[0].report_number = "R50"
        await jilin.node.upload([other], "again")
        await recall_everything(jilin)
        await jilin.node.upload([make_tube(52)], "last")

        async def counted() -> bool:
            return [node.conflict_count for node in await nation.nodes()] == [2] and len(nation.results()) == 2

        await until(counted)
    assert before[0] in nation.results()


async def correct(member: Member, number: str, outcome: outcome_pb2.Outcome.ValueType) -> None:
    """Correct the outcome of the laboratory's report."""
    name = f"{LAB_NAME}/results/{number}"
    await member.node.admin.CorrectResult(CorrectResultRequest(name=name, outcome=outcome, reason="mixed up"))


def newest(member: Member) -> dict[str, tuple[Any, ...]]:
    """Return for each report the revision that its key names."""
    keys = dict(member.rows(report_keys, "report_number", "revision"))
    rows = member.rows(results, "report_number", "revision", "state", "outcome")
    return {number: tuple(row) for number, *row in rows if keys.get(number) == row[0]}


async def test_restored_nodes_learn_that_a_link_has_ended(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """Jilin, which made and ended it, and Henan, which has a copy, are restored from copies in which it is active."""
    timing = ResultsTiming(notification_passed=0)
    at = open_member(tmp_path / "nation", sqlite_url("results"), "000000", timing=timing)
    nation = await stack.enter_async_context(at)
    urls = {region: sqlite_url("results") for region in (JILIN, HENAN)}

    def node(region: str) -> contextlib.AbstractAsyncContextManager[Member]:
        return open_member(tmp_path / region, urls[region], region, upstream=nation.address)

    pair = {"document": make_document(0), "linked_document": make_document(1), "reason": "seen both"}
    async with node(JILIN) as jilin, node(HENAN) as henan:
        await jilin.node.register()
        await jilin.node.upload(make_tubes(2))
        await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**pair))
        await until(lambda: len(nation.rows(document_links, "link_id")) == 1 and len(nation.results()) == 2)
        await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(0)))
        assert henan.rows(document_links, "unlink_time") == [(None,)]
        copies = [Copy(url, tmp_path / f"{region}.copy") for region, url in urls.items()]
        await jilin.node.links.UnlinkDocuments(UnlinkDocumentsRequest(**pair))
        ended = jilin.rows(document_links, "link_id", "unlink_time")
        for member in (nation, henan):
            await until(lambda member=member: member.rows(document_links, "link_id", "unlink_time") == ended)
    async with node(HENAN):
        # From here on the nation no longer has the notification of the end.
        await until(lambda: min(nation.rows(notifications, "number")) > (1,))
    for copy in copies:
        copy.restore()
    for region in (HENAN, JILIN):
        async with node(region) as member:
            await until(lambda member=member: member.rows(document_links, "link_id", "unlink_time") == ended)


async def test_a_removal_is_not_dropped_by_a_restored_nation(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """The restored nation gets Henan's request before Jilin sends the link again. Jilin has not ended the link yet."""
    url, nation_directory = sqlite_url("results"), tmp_path / "nation"
    pair = {"document": make_document(0), "linked_document": make_document(1), "reason": "seen both"}
    async with open_member(nation_directory, url, "000000") as nation:
        ways: dict[str, Link] = {}
        members: dict[str, Member] = {}
        for region in (JILIN, HENAN):
            ways[region] = await stack.enter_async_context(link_to(nation.address))
            node = open_member(tmp_path / region, sqlite_url("results"), region, upstream=ways[region].address)
            members[region] = await stack.enter_async_context(node)
        jilin, henan = members[JILIN], members[HENAN]
        await jilin.node.register()
        await jilin.node.upload(make_tubes(2))
        await (await laboratory(henan, HENAN_USCC)).upload([make_tube(0)])
        await until(lambda: len(nation.results()) == 3)
        copy = Copy(url, tmp_path / "nation.copy")
        await jilin.node.links.LinkDocuments(LinkDocumentsRequest(**pair))
        await until(lambda: len(nation.rows(document_links, "link_id")) == 1)
        await henan.node.imports.ImportResults(ImportResultsRequest(document=make_document(0)))
        await ways[JILIN].cut()
        await henan.node.links.UnlinkDocuments(UnlinkDocumentsRequest(**pair))
        await until(lambda: nation.rows(document_links, "unlink_node") == [(HENAN,)])
    copy.restore()
    nation = await stack.enter_async_context(open_member(nation_directory, url, "000000"))
    ways[HENAN].lead_to(nation.address)
    await until(lambda: nation.rows(link_end_requests, "node") == [(HENAN,)])
    assert jilin.rows(document_links, "unlink_time") == [(None,)]
    ways[JILIN].lead_to(nation.address)
    ways[JILIN].mend()
    await until(lambda: jilin.rows(document_links, "unlink_node") == [(HENAN,)])
    ended = jilin.rows(document_links, "link_id", "unlink_time", "unlink_node")
    for member in (nation, henan):
        await until(lambda member=member: member.rows(document_links, "link_id", "unlink_time", "unlink_node") == ended)


async def test_a_province_that_is_restored_by_the_commands_heals_through_the_exchange(
    tmp_path: Path, sqlite_url: MakeUrl, stack: contextlib.AsyncExitStack
) -> None:
    """The backup is made while the province serves. What it lost stays at the nation, and is uploaded again once."""
    nation = await stack.enter_async_context(open_member(tmp_path / "nation", sqlite_url("results"), "000000"))
    url, directory = sqlite_url("results"), tmp_path / "jilin"
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        await jilin.node.register()
        await jilin.node.upload(make_tubes(2))
        settings = settings_for(directory, jurisdiction=JILIN, results_database_url=url)
        said = await asyncio.to_thread(back_up, settings, ["results"], tmp_path / "backups", with_pepper=False)
        (lost,) = await jilin.node.upload([make_tube(50), make_tube(51)], "lost")
        await until(lambda: len(nation.results()) == 4)
    before = nation.results()
    await asyncio.to_thread(Path(url.removeprefix("sqlite:///")).rename, tmp_path / "broken.db")
    await asyncio.to_thread(restore, settings, Path(said.splitlines()[0]), ["results"], SystemClock().now())
    async with open_member(directory, url, JILIN, upstream=nation.address) as jilin:
        assert len(jilin.results()) == 2
        token = LookupLatestRequest(document=make_document(50), at_least_as_fresh=lost.consistency_token)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await jilin.node.results.LookupLatest(token)
        assert error_info(caught.value).metadata == {"node": f"nodes/{JILIN}", "lost": "true"}
        assert (await nation.node.results.LookupLatest(token)).in_region
        (answer,) = await jilin.node.upload([make_tube(50), make_tube(51), make_tube(52)], "lost")
        assert answer.accepted_count == 3
        await until(lambda: "R52" in newest(nation))
        assert [row for row in nation.results() if row[1] != "R52"] == before
        assert {row[1] for row in jilin.results()} == {row[1] for row in nation.results()}
    lines, is_well = verify_audit(settings, ["results"])
    assert is_well
    assert any("what was recorded between the copy and the restore is lost" in line for line in lines)
