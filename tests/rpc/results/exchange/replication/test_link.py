"""The link of a province to the nation: it recovers from faults, and both nodes know what has arrived."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.exchange.v1.exchange_service_pb2 import ListNodesRequest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.domain.instant import HOUR, MINUTE, SECOND, Instant, Span, to_timestamp
from services.results.exchange.tables import lab_homes
from services.results.exchange.upstream.backlog import BACKLOG
from services.results.exchange.upstream.outbox import Page
from services.results.exchange.upstream.store import UpstreamStore
from services.results.timeliness.tables import national_receive_times
from services.results.timing import ResultsTiming
from services.runtime.clock import SystemClock
from tests.support.databases import MakeUrl
from tests.support.link import link_to
from tests.support.results.country import HENAN, JILIN, Country, open_member, replicated
from tests.support.results.factories import make_tube, make_tubes
from tests.support.waiting import until


async def test_a_stream_that_hangs_is_opened_again(country: Country) -> None:
    country.timing = ResultsTiming(sender_answer=1.0)
    async with link_to(country.nation.address) as link:
        jilin = await country.join(JILIN, upstream=link.address)
        await jilin.node.register()
        await jilin.node.upload(make_tubes(3))
        await replicated(country, jilin)
        link.strand()
        await jilin.node.upload(make_tubes(3, 10), "stranded")
        # The channel keeps the dead connection until its keepalive fails or the link is cut.
        await link.cut()
        link.mend()
        await replicated(country, jilin)


async def test_an_unexpected_failure_only_interrupts(country: Country, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is logged with its origin, and what was committed meanwhile arrives."""
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await until(lambda: bool(country.nation.rows(lab_homes, "node")))
    read_page, failing = UpstreamStore.read_page, True

    async def fail(store: UpstreamStore, *asked: Any) -> Page:
        if failing:
            raise RuntimeError("unforeseen")
        return await read_page(store, *asked)

    monkeypatch.setattr(UpstreamStore, "read_page", fail)
    with capture_logs() as logs:
        await until(lambda: sum("failed" in entry["event"] and bool(entry.get("exc_info")) for entry in logs) >= 2)
    await jilin.node.upload(make_tubes(3))
    failing = False
    await replicated(country, jilin)


def backlog() -> float | None:
    """Return the backlog that the only province of this process reports."""
    return REGISTRY.get_sample_value("hutong_replication_backlog_commits")


@pytest.mark.parametrize("frozen", [False, True])
async def test_the_backlog_counts_all_that_the_nation_has_not_acknowledged(country: Country, frozen: bool) -> None:
    """Commits are counted while the nation is unavailable, and on a frozen link, including frames without an answer."""
    async with link_to(country.nation.address) as link:
        jilin = await country.join(JILIN, upstream=link.address)
        await jilin.node.register()
        await until(lambda: bool(country.nation.rows(lab_homes, "node")))
        # Wait for a new count, because the gauge may still show an earlier one.
        BACKLOG.set(-1)
        await until(lambda: backlog() == 0)
        if frozen:
            link.freeze()
        else:
            await link.cut()
        for person in range(12):
            await jilin.node.upload([make_tube(person)], f"upload-{person}")
        await until(lambda: backlog() == 12)
        link.mend()
        await replicated(country, jilin)
        await until(lambda: backlog() == 0)


async def test_a_province_that_starts_while_the_nation_is_unavailable_knows_its_backlog(
    tmp_path: Path, country: Country, database_url: MakeUrl
) -> None:
    url = database_url("results")
    async with link_to(country.nation.address) as link:
        async with open_member(tmp_path / "a", url, JILIN, upstream=link.address) as jilin:
            await jilin.node.register()
            await jilin.node.upload(make_tubes(3))
            await until(lambda: len(jilin.rows(national_receive_times, "lab")) == 1 and backlog() == 0)
            await link.cut()
            for person in range(10, 15):
                await jilin.node.upload([make_tube(person)], f"upload-{person}")
        BACKLOG.set(0)
        async with open_member(tmp_path / "b", url, JILIN, upstream=link.address):
            await until(lambda: backlog() == 5)


async def test_the_nation_knows_up_to_when_a_province_is_complete(country: Country) -> None:
    jilin = await country.join(JILIN)
    clock = SystemClock()
    await jilin.node.register()
    await jilin.node.upload(make_tubes(3))
    acknowledged = to_timestamp(clock.now())

    async def complete() -> bool:
        nodes = await country.nation.nodes()
        return bool(nodes) and nodes[0].as_of_time.ToMicroseconds() > acknowledged.ToMicroseconds()

    await until(complete)
    assert len(country.nation.results()) == 3
    assert abs((await country.nation.nodes())[0].clock_skew.ToMicroseconds()) < HOUR


class DriftingClock:
    """The machine's clock plus what the test sets."""

    ahead: Span = 0

    def now(self) -> Instant:
        return SystemClock().now() + self.ahead


async def test_a_clock_that_drifts_on_an_open_stream_is_reported_once_by_either_side(country: Country) -> None:
    """When the clocks agree again, this is logged once too, without a new stream."""
    clock = DriftingClock()
    await country.join(JILIN, clock=clock)
    await until(lambda: REGISTRY.get_sample_value("hutong_replication_connected") == 1)

    async def both_measure(skew: Span) -> bool:
        measured = (REGISTRY.get_sample_value("hutong_clock_skew_seconds") or 0) * SECOND
        told = [measured, *(node.clock_skew.ToMicroseconds() for node in await country.nation.nodes())]
        return len(told) == 2 and all(abs(one - skew) < 20 * SECOND for one in told)

    with capture_logs() as logs:
        for ahead in (0, -4 * MINUTE, -5 * MINUTE, 0):
            clock.ahead = ahead
            await until(partial(both_measure, ahead))
    told = [entry["event"] for entry in logs if "clock" in entry["event"]]
    assert (
        told
        == ["a province's clock and the nation's differ"] * 2 + ["a province's clock and the nation's agree again"] * 2
    )
    assert not any(entry["event"] == "replication to the nation connected" for entry in logs)


async def test_nodes_are_paged(country: Country) -> None:
    """Pages are ordered by region. A page token is bound to its request."""
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    for province in (jilin, henan):
        await province.node.register()

    async def both_are_listed() -> bool:
        return [node.name for node in await country.nation.nodes()] == [f"nodes/{JILIN}", f"nodes/{HENAN}"]

    await until(both_are_listed)
    exchange = country.nation.exchange
    first = await exchange.ListNodes(ListNodesRequest(page_size=1))
    assert [node.name for node in first.nodes] == [f"nodes/{JILIN}"]
    last = await exchange.ListNodes(ListNodesRequest(page_size=1, page_token=first.next_page_token))
    assert ([node.name for node in last.nodes], last.next_page_token) == ([f"nodes/{HENAN}"], "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await exchange.ListNodes(ListNodesRequest(page_token="bm9uZQ"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
