"""Counts of decisions go up from node to node, on either engine."""

from __future__ import annotations

import asyncio

from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame
from sqlalchemy import Connection, select

from services.domain.instant import DAY, HOUR
from services.verification.decision_counts.model import CountKey
from services.verification.decision_counts.store import add_counts
from services.verification.refusal_exchange.counts import DecisionCountOutbox
from services.verification.refusal_exchange.session import RefusalSession
from services.verification.refusal_exchange.store import Begun
from services.verification.refusal_exchange.timing import RefusalTiming
from services.verification.refusals.tables import refusal_links
from tests.support.verification.decided import sum_decided
from tests.support.verification.refusal_nodes import (
    HENAN,
    NOON,
    PLACE,
    ZHENGZHOU,
    OneNode,
    connect,
    joined,
)
from tests.support.verification.refusals import HOTEL
from tests.support.waiting import until


async def send_counts(below: OneNode, above: OneNode) -> int:
    """Run the lower end of a stream until the node above lacks no count. Return the number of frames with counts."""
    answers: asyncio.Queue[RefusalExchangeFrame] = asyncio.Queue()
    sent: list[int] = []

    async def write(frame: RefusalExchangeFrame) -> None:
        if frame.decision_counts:
            await above.exchange.receive(below.region, above.streams[below.region], frame)
            answers.put_nowait(RefusalExchangeFrame(acknowledged_number=frame.number))
            sent.append(frame.number)

    outbox = DecisionCountOutbox(below.database)
    begun = Begun(await below.numbers(above), below.streams[above.region])
    # Counts are read once, so whatever is to be sent is sent without a pause.
    timing = RefusalTiming(idle=0, counts=3600)
    session = RefusalSession(
        below.exchange, above.region, timing, answers.get, write, is_above=True, begun=begun, counts=outbox
    )

    def hour_to_resend(connection: Connection) -> int | None:
        return connection.execute(
            select(refusal_links.c.resend_hour).where(refusal_links.c.node == above.region)
        ).scalar()

    async def is_done() -> bool:
        return not await outbox.read() and await below.database.read(hour_to_resend) is None

    running = asyncio.create_task(session.run())
    try:
        await until(is_done, 10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return len(sent)


async def counted(node: OneNode) -> dict[str, int]:
    """Return the number of decisions by the node that made them, as a node knows them."""
    found = await node.database.read(sum_decided, "node", NOON, NOON + DAY)
    return {made_by: counts.total for made_by, counts in found.items()}


async def test_counts_go_up_through_a_middle_node_and_again_after_a_restore(country: list[OneNode]) -> None:
    """The nation has each count once. A nation that has lost them gets them again, and so does a new node above."""
    nation, _, henan, zhengzhou = country
    await joined(country)
    for node, count in ((zhengzhou, 3), (henan, 2)):
        for hour in range(2):
            key = CountKey(NOON // HOUR + hour, PLACE, HOTEL, 1)
            await node.database.write(add_counts, node.region, {key: count})
    for _ in range(2):
        await send_counts(zhengzhou, henan)
        await send_counts(henan, nation)
        assert await counted(nation) == await counted(henan) == {ZHENGZHOU: 6, HENAN: 4}
    assert await send_counts(henan, nation) == 0
    nation.restore()
    await connect(henan, nation)
    assert await counted(nation) == {}
    assert await send_counts(henan, nation) > 0
    assert await counted(nation) == {ZHENGZHOU: 6, HENAN: 4}
    # The province is gone. It had every count of the city, and the nation above gets them once more.
    nation.restore()
    await connect(zhengzhou, nation)
    assert await send_counts(zhengzhou, nation) > 0
    assert await counted(nation) == {ZHENGZHOU: 6}
