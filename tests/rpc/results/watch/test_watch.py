"""WatchResults through a real server: changes in order, from any cursor, checkpoints, filters, its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_service_pb2 import ResultFilter, WatchResultsRequest, WatchResultsResponse

from services.domain.instant import DAY, MINUTE, SECOND, to_timestamp
from services.results.changelog.model import Position
from services.results.retention.purge import purge
from services.results.timing import ResultsTiming
from services.results.watch import watch
from services.results.watch.cursors import encode_cursor
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import Failure, error_info, failure_of, rich_status
from tests.support.results.factories import LAB_NAME, NOW, OTHER_USCC, PENDING, POSITIVE, make_tube, make_tubes
from tests.support.results.node import ResultsNode, results_node
from tests.support.waiting import TIMEOUT_SECONDS

INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Watcher:
    """One watch, read message by message."""

    def __init__(self, node: ResultsNode, cursor: str = "", **filters: Any) -> None:
        self.call = node.results.WatchResults(WatchResultsRequest(cursor=cursor, filter=ResultFilter(**filters)))
        self.cursor = cursor

    async def next(self) -> WatchResultsResponse:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            message: WatchResultsResponse = await self.call.read()
        self.cursor = message.cursor
        return message

    async def next_change(self) -> str:
        """The next change. Checkpoints may come before it."""
        while not (message := await self.next()).HasField("change"):
            pass
        return f"{message.change.name}@{message.change.revision}"

    async def until_checkpoint(self) -> list[str]:
        """The changes up to the next checkpoint that says that all was sent."""
        changes = []
        while not (message := await self.next()).checkpoint.HasField("as_of_time"):
            if message.HasField("change"):
                changes.append(f"{message.change.report_number}@{message.change.revision}")
        return changes


def retry_after(error: grpc.aio.AioRpcError) -> int:
    """Return the seconds after which an error permits another attempt."""
    found = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(found) for detail in rich_status(error).details)
    return found.retry_delay.seconds


@contextlib.asynccontextmanager
async def watching(node: ResultsNode, cursor: str = "", **filters: Any) -> AsyncIterator[Watcher]:
    watcher = Watcher(node, cursor, **filters)
    try:
        yield watcher
    finally:
        watcher.call.cancel()


async def told_from(node: ResultsNode, cursor: str = "", **filters: Any) -> list[str]:
    async with watching(node, cursor, **filters) as watcher:
        return await watcher.until_checkpoint()


async def test_all_changes_are_sent_from_the_beginning_and_as_they_come(node: ResultsNode) -> None:
    """Each with the result of that revision as it stands."""
    await node.upload([make_tube(0, outcome=PENDING), make_tube(1)])
    async with watching(node) as watcher:
        assert await watcher.until_checkpoint() == ["R0@1", "R1@1"]
        await node.upload([make_tube(0)], "v")
        assert await watcher.next_change() == f"{LAB_NAME}/results/R0@2"
        correction = CorrectResultRequest(name=f"{LAB_NAME}/results/R1", outcome=POSITIVE, reason="a slip")
        await node.admin.CorrectResult(correction)
        assert await watcher.next_change() == f"{LAB_NAME}/results/R1@2"


async def test_a_watch_goes_on_after_any_message(node: ResultsNode) -> None:
    """Nothing is sent twice or left out, also in the middle of a batch, with and without a filter."""
    await node.upload(make_tubes(5))
    await node.upload([make_tube(5), make_tube(6, outcome=POSITIVE), make_tube(7)], "v")
    for filters in ({}, {"outcomes": [POSITIVE]}):
        async with watching(node, **filters) as watcher:
            whole: list[str] = []
            cursors = [""]
            while (message := await watcher.next()).HasField("change"):
                whole.append(f"{message.change.report_number}@{message.change.revision}")
                cursors.append(message.cursor)
        assert len(whole) == (1 if filters else 8)
        for place, cursor in enumerate(cursors):
            assert await told_from(node, cursor, **filters) == whole[place:]
        assert await told_from(node, message.cursor) == []


async def test_a_checkpoint_comes_after_all_changes_and_then_as_a_heartbeat(tmp_path: Path, url: str) -> None:
    """The checkpoint has the instant up to which everything was sent."""
    async with results_node(tmp_path, url, timing=ResultsTiming(watch_heartbeat=0.2)) as node:
        await node.register()
        await node.upload([make_tube(0)])
        async with watching(node) as watcher:
            assert (await watcher.next()).HasField("change")
            first = await watcher.next()
            assert first.checkpoint.as_of_time == to_timestamp(NOW)
            node.clock.advance(MINUTE)
            # A heartbeat may be under way.
            while (later := await watcher.next()).checkpoint.as_of_time == to_timestamp(NOW):
                pass
            assert later.checkpoint.as_of_time == to_timestamp(NOW + MINUTE)
            assert (await told_from(node, watcher.cursor)) == []


async def test_filters_narrow(node: ResultsNode) -> None:
    await node.upload([make_tube(0), make_tube(1, region="410105"), make_tube(2, outcome=POSITIVE)])
    assert await told_from(node, labs=[LAB_NAME]) == ["R0@1", "R1@1", "R2@1"]
    assert await told_from(node, labs=[f"labs/{OTHER_USCC}"]) == []
    assert await told_from(node, sample_region="220000") == ["R0@1", "R2@1"]
    assert await told_from(node, sample_region="410105") == ["R1@1"]
    assert await told_from(node, outcomes=[POSITIVE], sample_region="220500") == ["R2@1"]


async def test_a_watcher_with_a_filter_that_matches_nothing_moves_on(node: ResultsNode) -> None:
    """The cursor of a checkpoint lies behind all changes that the filter drops."""
    await node.upload(make_tubes(3))
    async with watching(node, outcomes=[POSITIVE]) as watcher:
        assert await watcher.until_checkpoint() == []
    assert await told_from(node, watcher.cursor) == []


WRONG: dict[str, tuple[WatchResultsRequest, Failure]] = {
    "no cursor": (WatchResultsRequest(cursor="x"), (INVALID, "INVALID_FIELD", ["cursor"])),
    "long cursor": (WatchResultsRequest(cursor="x" * 65_537), (INVALID, "INVALID_FIELD", ["cursor"])),
    "of another log": (
        WatchResultsRequest(cursor=encode_cursor({9: Position(5)})),
        (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TOO_OLD", []),
    ),
    "malformed laboratory": (
        WatchResultsRequest(filter=ResultFilter(labs=["x"])),
        (INVALID, "MALFORMED_NAME", ["filter.labs"]),
    ),
    "too many laboratories": (
        WatchResultsRequest(filter=ResultFilter(labs=[LAB_NAME] * 101)),
        (INVALID, "INVALID_FIELD", ["filter.labs"]),
    ),
    "region of letters": (
        WatchResultsRequest(filter=ResultFilter(sample_region="x")),
        (INVALID, "INVALID_FIELD", ["filter.sample_region"]),
    ),
    "unknown region": (
        WatchResultsRequest(filter=ResultFilter(sample_region="999999")),
        (INVALID, "REGION_UNKNOWN", ["filter.sample_region"]),
    ),
    "outcome": (
        WatchResultsRequest(filter=ResultFilter(outcomes=[99])),  # type: ignore[list-item]
        (INVALID, "INVALID_FIELD", ["filter.outcomes[0]"]),
    ),
}


async def test_a_faulty_watch_is_refused_with_its_reason(node: ResultsNode) -> None:
    answers = {
        name: await failure_of(node.results.WatchResults(request).read()) for name, (request, _) in WRONG.items()
    }
    assert answers == {name: expected for name, (_, expected) in WRONG.items()}


async def test_a_cursor_that_is_too_old_is_out_of_range_and_without_one_the_watch_begins_anew(
    node: ResultsNode, url: str
) -> None:
    await node.upload(make_tubes(2))
    async with watching(node) as watcher:
        old = (await watcher.next()).cursor
    node.clock.advance(40 * DAY)
    await node.upload([make_tube(7, reported=NOW + 40 * DAY - MINUTE)], "v")
    database = open_database(url)
    purge(database, NOW + 9 * DAY, NOW + 40 * DAY)
    # PostgreSQL's horizon is a month's beginning: the changes of August lie behind that of September.
    purge(database, NOW + 25 * DAY, NOW + 40 * DAY)
    database.close()
    async with watching(node, old) as watcher:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watcher.next()
        assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
        assert error_info(caught.value).reason == "CURSOR_TOO_OLD"
        assert "oldest" in error_info(caught.value).metadata
    assert await told_from(node) == ["R7@1"]


async def test_watchers_of_busy_writers_miss_nothing(node: ResultsNode) -> None:
    """Eight uploads at once, three watchers, one of them cut off and resumed after each message."""

    async def upload(number: int) -> None:
        for batch in range(2):
            await node.upload(make_tubes(3, 100 * number + 3 * batch), f"u{number}-{batch}")

    async def follow(*, resuming: bool) -> list[str]:
        watcher = Watcher(node)
        seen: list[str] = []
        while len(seen) < 48:
            message = await watcher.next()
            if message.HasField("change"):
                seen.append(message.change.report_number)
            if resuming:
                watcher.call.cancel()
                watcher = Watcher(node, message.cursor)
        watcher.call.cancel()
        return seen

    watchers = [asyncio.ensure_future(follow(resuming=resuming)) for resuming in (False, False, True)]
    await asyncio.gather(*(upload(number) for number in range(8)))
    everything = sorted(f"R{100 * number + place}" for number in range(8) for place in range(6))
    for seen in await asyncio.gather(*watchers):
        assert sorted(seen) == everything


async def test_a_watch_ends_with_the_server_and_says_so(node: ResultsNode) -> None:
    """The watch can then be resumed elsewhere from its cursor."""
    async with watching(node) as watcher:
        await watcher.next()
        stopping = asyncio.ensure_future(node.server.stop(TIMEOUT_SECONDS))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watcher.next_change()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "SHUTTING_DOWN"
        await stopping


async def test_so_many_watchers_are_served_and_no_more(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The next one is refused with a time to try again, and served once another has ended."""
    async with results_node(tmp_path, sqlite_url("results"), watchers="2") as node:
        await node.register()
        await node.upload([make_tube(0)])
        async with watching(node) as one, watching(node) as other:
            for watcher in (one, other):
                assert (await watcher.next()).HasField("change")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await told_from(node)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            info = error_info(caught.value)
            assert (info.reason, dict(info.metadata)) == ("OVERLOADED", {"limit": "2", "what": "watchers"})
            assert retry_after(caught.value) == watch.RETRY_AFTER // SECOND
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    assert await told_from(node) == ["R0@1"]
                    break
