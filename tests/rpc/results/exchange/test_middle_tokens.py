"""Tokens of a city and its province at the nation: met as soon as the commit is there, and never before."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_service_pb2 import LookupLatestRequest

from services.results.limits import ResultsLimits
from services.results.timing import ResultsTiming
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.link import Link, link_to
from tests.support.restored import Copy
from tests.support.results.country import HENAN, HENAN_USCC, ZHENGZHOU, Member, laboratory, open_member
from tests.support.results.factories import OTHER_USCC, make_document, make_tube
from tests.support.waiting import TIMEOUT_SECONDS, until

EACH_ALONE = ResultsLimits(replication_batch_bytes=1)
"""Each commit is a frame of its own, so a slow connection soon has a backlog."""
SOON = ResultsTiming(token_wait=0.3)
"""A look-up waits no longer for what its token stands for."""


@dataclass(slots=True)
class Tree:
    """A nation, Henan below it, and Zhengzhou below Henan. Henan can be stopped and started again."""

    directory: Path
    make_url: MakeUrl
    stack: contextlib.AsyncExitStack
    nation: Member
    up: Link
    down: Link
    henan_url: str
    henan_running: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start_henan(self) -> Member:
        """Start Henan on its database. Zhengzhou reaches it by the link."""
        self.henan_running = await self.stack.enter_async_context(contextlib.AsyncExitStack())
        henan = await self.henan_running.enter_async_context(
            open_member(self.directory / HENAN, self.henan_url, HENAN, None, SOON, EACH_ALONE, upstream=self.up.address)
        )
        self.down.lead_to(henan.address)
        return henan

    async def start_city(self) -> Member:
        """Start Zhengzhou."""
        opening = open_member(
            self.directory / ZHENGZHOU, self.make_url("results"), ZHENGZHOU, timing=SOON, upstream=self.down.address
        )
        return await self.stack.enter_async_context(opening)


@pytest.fixture
async def tree(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[Tree]:
    async with contextlib.AsyncExitStack() as stack:
        nation = await stack.enter_async_context(
            open_member(tmp_path / "nation", sqlite_url("results"), "000000", timing=SOON)
        )
        up = await stack.enter_async_context(link_to(nation.address))
        # Where the link leads is set when Henan starts.
        down = await stack.enter_async_context(link_to(nation.address))
        yield Tree(tmp_path, sqlite_url, stack, nation, up, down, sqlite_url("results"))


async def ask(member: Member, person: int, token: str) -> str:
    """Look up a person's only result with a token. Return the node that does not meet the token; empty if it is met.

    The name of a node that has lost the commit is followed by "lost".
    """
    request = LookupLatestRequest(
        document=make_document(person), scope=LOOKUP_SCOPE_NATIONWIDE, at_least_as_fresh=token
    )
    try:
        found = await member.node.results.LookupLatest(request, timeout=TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        info = error_info(error)
        if info.reason != "NOT_FRESH_ENOUGH":
            raise
        return info.metadata["node"].removeprefix("nodes/") + (" lost" if info.metadata.get("lost") else "")
    numbers = [one.report_number for one in (*found.in_region, *found.out_of_region)]
    assert numbers == [f"R{person}"], "met too early"
    return ""


async def becomes(member: Member, person: int, token: str, answer: str = "") -> None:
    """Ask until this is the answer. An answer may not be that the commit is lost unless it is the expected one."""

    async def is_so() -> bool:
        found = await ask(member, person, token)
        assert found == answer or not found.endswith("lost")
        return found == answer

    await until(is_so)


async def test_a_citys_token_is_met_while_its_province_has_a_backlog(tree: Tree) -> None:
    """The city's commit is in the middle of the backlog. Its token is met when it arrives, long before the last one."""
    nation, henan, city = tree.nation, await tree.start_henan(), await tree.start_city()
    of_henan, of_city = await laboratory(henan, HENAN_USCC), await laboratory(city, OTHER_USCC)
    await of_city.upload([make_tube(1)], "first")
    await until(lambda: len(nation.results()) == 1)
    tree.up.freeze()
    for person in range(100, 105):
        await of_henan.upload([make_tube(person)], f"before-{person}")
    *_, answer = await of_city.upload([make_tube(2)], "middle")
    token = answer.consistency_token
    await becomes(henan, 2, token)
    for person in range(200, 230):
        await of_henan.upload([make_tube(person)], f"after-{person}")
    assert await ask(nation, 2, token) == ZHENGZHOU
    tree.up.mend()
    tree.up.slow(0.15)
    await becomes(nation, 2, token)
    # Many of the thirty results that came after it are not there.
    assert len(nation.results()) < 30


async def test_tokens_after_a_restore_of_the_province(tree: Tree) -> None:
    """Commits that Henan itself has lost count as lost at once, also at the nation.

    Lost commits of the city come again.
    """
    nation, henan, city = tree.nation, await tree.start_henan(), await tree.start_city()
    of_city = await laboratory(city, OTHER_USCC)
    of_henan = await laboratory(henan, HENAN_USCC)
    await of_city.upload([make_tube(1)], "first")
    await of_henan.upload([make_tube(10)], "henan")
    await until(lambda: len(nation.results()) == 2)
    copy = Copy(tree.henan_url, tree.directory / "copy")
    *_, known = await of_city.upload([make_tube(2)], "known")
    await until(lambda: len(nation.results()) == 3)
    tree.up.freeze()
    *_, lost = await of_henan.upload([make_tube(11)], "lost")
    *_, again = await of_city.upload([make_tube(3)], "again")
    await becomes(henan, 3, again.consistency_token)
    await tree.down.cut()
    await tree.henan_running.aclose()
    copy.restore()
    henan = await tree.start_henan()
    tree.up.mend()
    assert await ask(henan, 11, lost.consistency_token) == f"{HENAN} lost"
    assert await ask(henan, 3, again.consistency_token) == ZHENGZHOU
    # The nation has the city's commit that Henan has lost.
    assert await ask(nation, 2, known.consistency_token) == ""
    *_, later = await henan.node.of_lab(HENAN_USCC).upload([make_tube(12)], "later")
    await becomes(nation, 12, later.consistency_token)
    assert await ask(nation, 11, lost.consistency_token) == f"{HENAN} lost"
    tree.down.mend()
    for member in (henan, nation):
        await becomes(member, 3, again.consistency_token)
    await becomes(city, 11, lost.consistency_token, f"{HENAN} lost")
