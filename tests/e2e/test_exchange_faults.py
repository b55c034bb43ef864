"""A nation, two provinces and a city below one of them, under load, killed and cut off: nothing is lost or doubled.

EXCHANGE_ROUNDS says how many faults there are on each engine (`make soak`: 200); EXCHANGE_SEED repeats a run's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import grpc
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.exchange_service_pb2 import ListNodesRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from sqlalchemy import Connection, Table, func, select

from services.domain.instant import DAY, to_timestamp
from services.results.records.tables import report_keys, results
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.link import Link, link_to
from tests.support.ports import free_address
from tests.support.restartable import Restartable, restartable, service_variables
from tests.support.results.country import SAME_EVERYWHERE, read_rows
from tests.support.results.factories import LABS, NOW, OTHER_USCC
from tests.support.results.uploaders import BATCH, Laboratories
from tests.support.verification.node import Node
from tests.support.waiting import random_instant, until

ROUNDS = int(os.environ.get("EXCHANGE_ROUNDS", "8"))
SEED = int(os.environ.get("EXCHANGE_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
HENAN, SHANDONG, ZHENGZHOU = "410000", "370000", "410100"
PARENTS = {HENAN: "000000", SHANDONG: "000000", ZHENGZHOU: HENAN}
LAB_OF = {HENAN: "91410300MA00000018", SHANDONG: LABS[SHANDONG], ZHENGZHOU: OTHER_USCC}
TIMEOUT_SECONDS = 120.0
REST_SECONDS = 0.3 if ROUNDS < 100 else 0.0
"""Between two batches of a stream. In a soak nine streams upload as fast as they can."""
APART = 2_000_000
"""Between the first persons of two nodes."""


class Below:
    """A node below the nation as a process, its laboratories, and its link to the node above."""

    def __init__(self, region: str, url: str, service: Restartable, address: str, link: Link, first: int) -> None:
        self.region = region
        self.url = url
        self.service = service
        self.address = address
        self.link = link
        self.laboratories = Laboratories(address, first, LAB_OF[region], REST_SECONDS)

    def rows(self) -> Counter[tuple[object, ...]]:
        """Every revision of the laboratory of this node that is stored here."""
        return Counter(row for row in _rows(self.url) if row[-1] == self.region)


@contextlib.contextmanager
def node(directory: Path, url: str, address: str, **more: str) -> Iterator[Restartable]:
    """A node's process, started; the fork server can kill it and start it again."""
    directory.mkdir(exist_ok=True)
    with restartable(
        directory / "log", **service_variables(directory, url, address), drain_seconds="1", **more
    ) as service:
        service.start()
        yield service


def _rows(url: str) -> Counter[tuple[object, ...]]:
    """Every revision stored in a database."""
    return Counter(read_rows(url, results, *SAME_EVERYWHERE))


@contextlib.asynccontextmanager
async def open_below(directory: Path, url: str, region: str, above: str, first: int) -> AsyncIterator[Below]:
    """A node that reaches the node above over a link."""
    address = free_address()
    async with link_to(above) as link:
        with node(directory, url, address, jurisdiction=region, upstream=link.address) as service:
            yield Below(region, url, service, address, link, first)


async def test_every_store_has_every_revision_once_whatever_breaks(tmp_path: Path, database_url: MakeUrl) -> None:
    """Kills of the nation, of a node below, of both; links cut, frozen and slowed; all under upload load."""
    chance = random.Random(SEED)
    faults = _deal(chance)
    nation_url, nation_address = database_url("results"), free_address()
    async with contextlib.AsyncExitStack() as stack:
        nation = stack.enter_context(node(tmp_path / "nation", nation_url, nation_address, jurisdiction="000000"))
        provinces: list[Below] = []
        addresses = {"000000": nation_address}
        for index, (region, parent) in enumerate(PARENTS.items()):
            opening = open_below(tmp_path / region, database_url("results"), region, addresses[parent], index * APART)
            provinces.append(await stack.enter_async_context(opening))
            addresses[region] = provinces[-1].address
        for province in provinces:
            await asyncio.to_thread(province.laboratories.start)
        for _ in range(ROUNDS):
            await asyncio.to_thread(chance.choice(provinces).laboratories.wait_for_batches, chance.randrange(1, 8))
            await _break_something(chance, next(faults), nation, chance.choice(provinces))
        for province in provinces:
            province.link.mend()
        for province in provinces:
            await asyncio.to_thread(province.laboratories.finish)
            with contextlib.closing(open_database(province.url)) as database:
                database.read_now(province.laboratories.check)
        for province in provinces:
            if province.region != SHANDONG:
                await _recall_all(province)
        henan = next(province for province in provinces if province.region == HENAN)
        await _await_equal(henan.url, [province for province in provinces if province.region != SHANDONG])
        await _await_equal(nation_url, provinces)
        await _check_at_rest(henan.address, 1)
        await _check_at_rest(nation_address, 3)


def _deal(chance: random.Random) -> Iterator[str]:
    """Faults from one shuffled deck after another, so that none is missing from a run."""
    while True:
        deck = ["nation", "province", "both", "cut", "frozen", "slow", "mended", "mended"]
        chance.shuffle(deck)
        yield from deck


async def _break_something(chance: random.Random, fault: str, nation: Restartable, province: Below) -> None:
    if fault in ("nation", "both"):
        nation.kill()
    if fault in ("province", "both"):
        province.service.kill()
    if fault in ("nation", "both"):
        # For a while the node is down.
        await asyncio.to_thread(random_instant, chance, 0.5)
        nation.start()
    if fault in ("province", "both"):
        province.service.start()
    if fault == "cut":
        await province.link.cut()
    elif fault == "frozen":
        province.link.freeze()
    elif fault == "slow":
        province.link.slow(chance.uniform(0.02, 0.3))
    elif fault == "mended":
        province.link.mend()


async def _recall_all(province: Below) -> None:
    """Everything of one node's laboratory gets another revision."""
    async with grpc.aio.insecure_channel(province.address) as channel:
        await ResultsAdminServiceStub(channel).RecallResults(
            RecallResultsRequest(
                lab=f"labs/{LAB_OF[province.region]}",
                report_interval=Interval(start_time=to_timestamp(NOW - DAY), end_time=to_timestamp(NOW + DAY)),
                reason="contaminated",
            ),
            timeout=TIMEOUT_SECONDS,
            wait_for_ready=True,
        )


async def _await_equal(url: str, provinces: Sequence[Below]) -> None:
    """Wait until a node has what these nodes have, each revision once, and nothing else."""
    wanted: Counter[tuple[object, ...]] = Counter()
    for province in provinces:
        wanted += province.rows()
    assert set(wanted.values()) == {1}
    assert wanted.total() > ROUNDS * BATCH, f"hardly any load, seed {SEED}"
    try:
        with contextlib.closing(open_database(url)) as database:
            # Counting is much cheaper than reading every row each time.
            await until(lambda: database.read_now(_count) >= wanted.total(), TIMEOUT_SECONDS)
        await until(lambda: _rows(url) == wanted, TIMEOUT_SECONDS)
    except TimeoutError:
        missing, more = wanted - _rows(url), _rows(url) - wanted
        text = f"seed {SEED}: {missing.total()} missing, {more.total()} too many"
        raise AssertionError(f"{text}: {list(missing)[:2]} {list(more)[:2]}") from None
    labs = {province.region: LAB_OF[province.region] for province in provinces}
    own = [key for province in provinces for key in _keys(province.url) if key[0] == labs[province.region]]
    assert _keys(url) == sorted(own)


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(results)).scalar_one()


def _keys(url: str, table: Table = report_keys) -> list[tuple[object, ...]]:
    columns = ("lab", "report_number", "subject_key", "reference_time", "revision", "outcome", "content_hash")
    return sorted(read_rows(url, table, *columns))


async def _check_at_rest(address: str, count: int) -> None:
    """Check that nothing is outstanding between a node and its nodes, and that no report is another person's."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ExchangeServiceStub(channel)

        async def nodes() -> Sequence[Node]:
            return (await stub.ListNodes(ListNodesRequest(), wait_for_ready=True)).nodes

        async def is_at_rest() -> bool:
            return [node.backlog for node in await nodes()] == [0] * count

        await until(is_at_rest, TIMEOUT_SECONDS)
        assert [(node.conflict_count, len(node.set_aside)) for node in await nodes()] == [(0, 0)] * count
