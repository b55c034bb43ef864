"""Counts of decisions in real processes: a kill loses seconds, a stop nothing, and the nation has each count once."""

from __future__ import annotations

import signal
from pathlib import Path

from google.type.interval_pb2 import Interval
from hutong.verification.v1 import refusal_service_pb2 as service
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, StreamVerifyRequest

from services.domain.instant import DAY, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.verification.node import ALL, NUMBERS, Callers, Node, calling, question
from tests.support.waiting import until

NATION, HENAN = "000000", "410000"


async def _counted(callers: Callers, region: str = HENAN) -> int:
    """Return how many decisions about a region are counted."""
    now = SystemClock().now()
    request = service.SummarizeRefusalsRequest(
        region=region,
        interval=Interval(start_time=to_timestamp(now - DAY), end_time=to_timestamp(now + DAY)),
        groupings=[service.REFUSAL_GROUPING_WHOLE],
    )
    rows = (await callers.refusals.SummarizeRefusals(request)).refusal_summaries
    return sum(row.decisions.decision_count for row in rows)


async def _ask(callers: Callers, times: int) -> None:
    """Ask for three decisions as often as `times`: alone, in a batch and on a stream."""
    for _ in range(times):
        await callers.decisions.Verify(question(NUMBERS[0]))
        await callers.decisions.BatchVerify(BatchVerifyRequest(requests=[question(NUMBERS[1])]))
        stream = callers.decisions.StreamVerify()
        await stream.write(StreamVerifyRequest(request=question(NUMBERS[2]), correlation_id="1"))
        await stream.read()
        await stream.done_writing()


async def test_a_kill_loses_at_most_what_was_not_stored_and_a_stop_nothing(tmp_path: Path) -> None:
    """Counts that were stored before the kill are still there, and nothing is counted that was not asked."""
    node = Node(tmp_path)
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await _ask(callers, 2)

            async def is_stored() -> bool:
                return await _counted(callers) == 6

            await until(is_stored)
            await _ask(callers, 1)
        await node.stop(ALL, signal.SIGKILL)
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            after_kill = await _counted(callers)
            assert 6 <= after_kill <= 9
            await _ask(callers, 1)
        await node.stop(ALL)
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            assert await _counted(callers) == after_kill + 3
    finally:
        await node.close()


async def test_the_nation_has_each_decision_of_a_province_once(tmp_path: Path) -> None:
    """Totals cross again and again, after restarts too. A province does not state decisions about other provinces."""
    directories = {region: tmp_path / region for region in (NATION, HENAN)}
    for directory in directories.values():
        directory.mkdir()
    nation = Node(directories[NATION])
    henan = Node(directories[HENAN], region=HENAN, above=nation)
    try:
        await nation.start(ALL)
        await henan.start(ALL)
        async with calling(nation.addresses) as above, calling(henan.addresses) as below:
            asked = 0
            for times in (2, 1):
                await _ask(below, times)
                await below.decisions.Verify(question(NUMBERS[0], region="220502"))
                asked += 3 * times
                # A stop stores the counts, and a new stream begins with what the nation lacks.
                await henan.stop(ALL)
                await henan.start(ALL)

                async def has_all(wanted: int = asked) -> bool:
                    return await _counted(above) == wanted

                await until(has_all)
            await above.decisions.Verify(question(NUMBERS[0]))
            await nation.stop(ALL)
            await nation.start(ALL)
            assert await _counted(above, NATION) == asked + 1
            assert (await _counted(below), await _counted(below, "220000")) == (asked, 2)
    finally:
        await henan.close()
        await nation.close()
