"""Reported refusals of a nation, a province and a city: real processes, of which the one in the middle is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest_asyncio
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1 import refusal_service_pb2 as service

from services.domain.instant import HOUR, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.errors import failure_of
from tests.support.verification.node import ALL, NUMBERS, Callers, Node, calling, document, paper
from tests.support.waiting import until

NATION, HENAN, ZHENGZHOU = "000000", "410000", "410100"
HOTEL = purpose_pb2.PURPOSE_HOTEL
NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
RETEST = refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED
UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL


class Country(NamedTuple):
    """Three nodes, each below the one before it, and stubs of them by region."""

    nodes: dict[str, Node]
    callers: dict[str, Callers]


@pytest_asyncio.fixture
async def country(tmp_path: Path) -> AsyncIterator[Country]:
    async with AsyncExitStack() as stack:
        country = Country({}, {})
        above: Node | None = None
        for region in (NATION, HENAN, ZHENGZHOU):
            directory = tmp_path / region
            directory.mkdir()
            node = country.nodes[region] = Node(directory, region=region, above=above)
            stack.push_async_callback(node.close)
            country.callers[region] = await stack.enter_async_context(calling(node.addresses))
            above = node
        await asyncio.gather(*(node.start(ALL) for node in country.nodes.values()))
        await country.callers[ZHENGZHOU].publish("410100", 48 * HOUR)
        yield country


def _report(number: str, *grounds: int, region: str = "410105", **fields: object) -> service.ReportRefusalRequest:
    now = SystemClock().now()
    return service.ReportRefusalRequest(
        region=region,
        venue="站前宾馆",
        venue_kind=refusal_pb2.VENUE_KIND_LODGING,
        purpose=HOTEL,
        refuse_time=to_timestamp(now - HOUR),
        grounds=grounds,  # type: ignore[arg-type]
        document=document(number),
        statement=f"{number} 他们不认",
        **fields,  # type: ignore[arg-type]
    )


async def _at(callers: Callers, name: str) -> refusal_pb2.Refusal | None:
    listed = (await callers.refusals.ListRefusals(service.ListRefusalsRequest())).refusals
    return next((one for one in listed if one.name == name), None)


async def test_told_at_the_nation_and_answered_in_the_city(country: Country) -> None:
    """The policies of the place and the paper that was shown decide, and the answer is read with the code.

    The province is killed while a second report is under way.
    """
    nation, henan, city = (country.callers[region] for region in (NATION, HENAN, ZHENGZHOU))

    async def link_is_up() -> bool:
        return bool(await _at(henan, first.refusal.name))

    shown = paper("PAPER", SystemClock().now() - 5 * HOUR)
    first = await nation.refusals.ReportRefusal(_report(NUMBERS[0], RETEST, evidence=[shown]))
    # The province may not have called the nation yet. The nation then is the nearest node and assesses it itself.
    await until(link_is_up)

    async def assessed(code: str) -> bool:
        tracked = await nation.refusals.TrackRefusal(service.TrackRefusalRequest(code=code))
        return tracked.refusal.assess_node != ""

    await until(lambda: assessed(first.code))
    second = await nation.refusals.ReportRefusal(_report(NUMBERS[1], NOT_LOCAL, evidence=[shown]))
    assert second.refusal.state == refusal_pb2.REFUSAL_STATE_PENDING
    await country.nodes[HENAN].stop(ALL, signal.SIGKILL)
    third = await nation.refusals.ReportRefusal(_report(NUMBERS[2], NOT_LOCAL))
    local = await city.refusals.ReportRefusal(_report(NUMBERS[0], NOT_LOCAL, region="410106"))
    await country.nodes[HENAN].start(ALL)
    await until(lambda: assessed(third.code))
    await until(lambda: assessed(second.code))
    found = await _at(city, second.refusal.name)
    assert found is not None
    assert (found.assessment, found.assess_node, found.origin_node) == (UNLAWFUL, "nodes/410100", "nodes/000000")
    assert (found.venue_kind, NUMBERS[1] in found.statement) == (refusal_pb2.VENUE_KIND_LODGING, False)
    answer = service.AnswerRefusalRequest(name=second.refusal.name, answer="已整改")
    elsewhere = await failure_of(henan.refusals.AnswerRefusal(answer))
    assert elsewhere == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_RESPONSIBLE", [])
    await city.refusals.AnswerRefusal(answer)

    async def answered() -> bool:
        tracked = await nation.refusals.TrackRefusal(service.TrackRefusalRequest(code=second.code))
        return tracked.refusal.answer == "已整改"

    await until(answered)

    async def known_above() -> bool:
        found = await _at(nation, local.refusal.name)
        return found is not None and found.statement == ""

    await until(known_above)
