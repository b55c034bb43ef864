"""Runs a nation and its provinces: real Results services on real ports, each with its own database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hutong.exchange.v1.exchange_service_pb2 import ListNodesRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.exchange.v1.node_pb2 import Node
from sqlalchemy import Connection, Table, select

from services.results.limits import ResultsLimits
from services.results.records.tables import results
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock, SystemClock
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl
from tests.support.results.factories import OTHER_USCC
from tests.support.results.node import ResultsNode, results_node
from tests.support.waiting import until

JILIN, HENAN, SHANDONG = "220000", "410000", "370000"
ZHENGZHOU = "410100"
HENAN_USCC = "91410300MA00000018"
"""A laboratory of Luoyang. Without a node of Luoyang its home is Henan."""


@dataclass(slots=True)
class Member:
    """One node of the country and its database."""

    region: str
    node: ResultsNode
    url: str
    database: Database
    """The test's own view of the database, open as long as the node is. Tests read it again and again."""

    @property
    def address(self) -> str:
        """The address on which the node listens."""
        return f"127.0.0.1:{self.node.server.port}"

    @property
    def exchange(self) -> ExchangeServiceStub:
        """The service that provinces call at the nation."""
        return ExchangeServiceStub(self.node.channel)

    async def nodes(self) -> list[Node]:
        """Return the nodes that replicate to this node."""
        return list((await self.exchange.ListNodes(ListNodesRequest())).nodes)

    def rows(self, table: Table, *columns: str) -> list[tuple[Any, ...]]:
        """Return columns of all rows of a table, sorted."""
        return _read(self.database, table, *columns)

    def results(self, *, of: str = "") -> list[tuple[Any, ...]]:
        """Return the columns of every stored revision that must be equal at all nodes. `of` selects one source node."""
        return [row for row in self.rows(results, *SAME_EVERYWHERE) if not of or row[-1] == of]


SAME_EVERYWHERE = (
    "lab",
    "report_number",
    "revision",
    "state",
    "subject_key",
    "name_hash",
    "reference_time",
    "key_version",
    "tube_code",
    "pool_size",
    "specimen",
    "method",
    "outcome",
    "sample_region",
    "sample_site",
    "sample_time",
    "receive_time",
    "test_time",
    "report_time",
    "upload_time",
    "source_node",
)


@dataclass(slots=True)
class Country:
    """A national node, and provinces that join it one by one."""

    directory: Path
    make_url: MakeUrl
    nation: Member
    stack: contextlib.AsyncExitStack
    timing: ResultsTiming | None = None
    limits: ResultsLimits | None = None
    provinces: dict[str, Member] = field(default_factory=dict)

    async def join(self, region: str, *, upstream: str = "", clock: Clock | None = None, **variables: str) -> Member:
        """Start a province that replicates to the nation, or to another address."""
        member = await self.stack.enter_async_context(
            open_member(
                self.directory / region,
                self.make_url("results"),
                region,
                clock,
                self.timing,
                self.limits,
                upstream=upstream or self.nation.address,
                **variables,
            )
        )
        self.provinces[region] = member
        return member


async def replicated(country: Country, *members: Member) -> None:
    """Wait until the nation has exactly the results of these provinces, of which there must be some."""
    assert all(member.results() for member in members)

    def same() -> bool:
        return country.nation.results() == sorted([row for member in members for row in member.results()], key=repr)

    await until(same)


@contextlib.asynccontextmanager
async def open_member(
    directory: Path,
    url: str,
    region: str,
    clock: Clock | None = None,
    timing: ResultsTiming | None = None,
    limits: ResultsLimits | None = None,
    **variables: str,
) -> AsyncIterator[Member]:
    """Run one node on a database. It uses the machine's clock unless another is given."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    async with results_node(
        directory, url, clock=clock or SystemClock(), timing=timing, limits=limits, jurisdiction=region, **variables
    ) as node:
        with contextlib.closing(open_database(url)) as database:
            yield Member(region, node, url, database)


@contextlib.asynccontextmanager
async def open_country(
    directory: Path, make_url: MakeUrl, timing: ResultsTiming | None = None, limits: ResultsLimits | None = None
) -> AsyncIterator[Country]:
    """Run a nation without provinces. Provinces that join have its timing and limits."""
    async with (
        open_member(directory / "nation", make_url("results"), "000000", timing=timing, limits=limits) as nation,
        contextlib.AsyncExitStack() as stack,
    ):
        yield Country(directory, make_url, nation, stack, timing, limits)


async def laboratory(member: Member, uscc: str = OTHER_USCC) -> ResultsNode:
    """Register a laboratory at a node. Return the node as that laboratory uploads to it."""
    node = member.node.of_lab(uscc)
    await node.register()
    return node


def read_rows(url: str, table: Table, *columns: str) -> list[tuple[Any, ...]]:
    """Return columns of all rows of a table in a database, sorted."""
    with contextlib.closing(open_database(url)) as database:
        return _read(database, table, *columns)


def _read(database: Database, table: Table, *columns: str) -> list[tuple[Any, ...]]:
    def work(connection: Connection) -> list[tuple[Any, ...]]:
        rows = connection.execute(select(*(table.c[name] for name in columns)))
        return sorted((tuple(row) for row in rows), key=repr)

    return database.read_now(work)
