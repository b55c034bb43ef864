"""Stores of several nodes that exchange reported refusals, without services."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame, RefusalExchangeStart
from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
)
from sqlalchemy import Connection, delete, select

from services.domain.instant import Instant
from services.domain.region import within
from services.domain.subject import Pepper
from services.runtime.clock import FixedClock
from services.runtime.ids import uuid7
from services.storage.engine import Database, open_database
from services.verification.decision_counts.tables import decision_counts
from services.verification.refusal_exchange.duties import RefusalDuties
from services.verification.refusal_exchange.store import RefusalExchangeStore
from services.verification.refusal_exchange.timing import RefusalTiming
from services.verification.refusals.outbox import read_links
from services.verification.refusals.receipts import receipt_code, same_report_key
from services.verification.refusals.report_writer import ReportWriter
from services.verification.refusals.routing import ANSWER_WITHIN
from services.verification.refusals.rules import UNLAWFUL, Refusal
from services.verification.refusals.store import NewReport, RefusalFilter, RefusalStore
from services.verification.refusals.tables import refusal_links, refusal_outbox, refusals
from tests.support.databases import MakeUrl
from tests.support.verification.refusals import HOTEL, make_refusal

NATION, JILIN, HENAN, ZHENGZHOU = "000000", "220000", "410000", "410100"
PLACE = "410105"
NOON: Instant = 1_660_190_400_000_000
PEPPER = Pepper(b"p" * 32)
FRAME_NUMBERS = itertools.count(1)
"""The frames of a link have ascending numbers."""


class OneNode:
    """The stores of one node, without services."""

    def __init__(self, region: str, url: str, clock: FixedClock) -> None:
        self.region = region
        self.clock = clock
        self.database: Database = open_database(url)
        has_upstream = region != NATION
        self.reports = RefusalStore(self.database, PEPPER.secrets, region, has_upstream=has_upstream)
        self.exchange = RefusalExchangeStore(self.database, PEPPER, clock, region, has_upstream=has_upstream)
        nothing: object = None
        self.duties = RefusalDuties(
            self.database,
            nothing,  # type: ignore[arg-type]
            nothing,  # type: ignore[arg-type]
            PEPPER,
            clock,
            region,
            RefusalTiming(),
            has_upstream=has_upstream,
        )

    async def report(
        self,
        subject: bytes | None = b"k" * 16,
        region: str = PLACE,
        other_subject: bytes | None = None,
        **fields: object,
    ) -> Refusal:
        """Report a refusal here, which nobody assesses."""
        links = await self.reports.read_links()
        uuid, now = uuid7(), self.clock.now()
        refusal = make_refusal(
            now,
            uuid=uuid,
            region=region,
            subject_key=subject,
            origin_node=self.region,
            code=receipt_code(uuid, PEPPER),
            same_report_key=same_report_key(subject, region, HOTEL, now),
            other_same_report_key=same_report_key(other_subject, region, HOTEL, now),
            other_subject_key=other_subject,
            responsible_node=self.region if links.covers(region) else "",
            due_time=now + ANSWER_WITHIN,
        )
        refusal = replace(refusal, **fields)  # type: ignore[arg-type]
        stored: list[Refusal] = []

        def encode(one: Refusal) -> ReportRefusalResponse:
            stored.append(one)
            return ReportRefusalResponse()

        await self.reports.add_refusal(NewReport(refusal, None), ReportRefusalRequest(), encode)
        return stored[0]

    async def change(self, refusal: Refusal, **fields: object) -> None:
        """Change a stored report and note that other nodes are to get it."""

        def work(connection: Connection) -> None:
            changed = replace(refusal, **fields)  # type: ignore[arg-type]
            links = read_links(connection, self.region, self.region != NATION)
            writer = ReportWriter(connection, links, self.clock.now())
            writer.update(changed)
            writer.send(changed)

        await self.database.write(work)

    async def assess(self, uuid: str) -> None:
        """Assess a report here as unlawful."""
        assessed = {"assessment": UNLAWFUL, "assess_node": self.region, "assess_time": self.clock.now()}
        await self.change(await self.reports.get_refusal(uuid), **assessed)

    async def answer(self, uuid: str, text: str) -> None:
        """Answer a report here."""
        await self.reports.answer_refusal(
            uuid, self.clock.now(), AnswerRefusalRequest(answer=text), lambda _: AnswerRefusalResponse()
        )

    async def listed(self, **fields: object) -> list[Refusal]:
        """Return the reports that this node lists."""
        return await self.reports.list_refusals(RefusalFilter(**fields), "", 100)  # type: ignore[arg-type]

    def forget(self) -> None:
        """Lose everything, as a node that is restored from an empty copy."""

        def work(connection: Connection) -> None:
            for table in (refusals, refusal_outbox, refusal_links, decision_counts):
                connection.execute(delete(table))

        self.database.write_now(work)

    def waiting(self) -> int:
        """Return the number of reports in the outbox."""
        return len(self.database.read_now(lambda connection: connection.execute(select(refusal_outbox)).all()))


@contextlib.contextmanager
def nodes_of(regions: tuple[str, ...], make_url: MakeUrl) -> Iterator[list[OneNode]]:
    clock = FixedClock(NOON)
    with contextlib.ExitStack() as stack:
        nodes = [OneNode(region, make_url("verification"), clock) for region in regions]
        for node in nodes:
            stack.callback(node.database.close)
        yield nodes


async def open_stream(below: OneNode, above: OneNode) -> tuple[RefusalExchangeStart, RefusalExchangeStart]:
    """Begin a stream at the node above. Return the first frames of both nodes: the one below, the one above."""
    acknowledged, received = await below.exchange.numbers_above()
    start = RefusalExchangeStart(acknowledged_number=acknowledged, received_number=received)
    begun = await above.exchange.begin(start, below.region, is_above=False)
    answer = RefusalExchangeStart(acknowledged_number=begun.acknowledged_number, received_number=begun.received_number)
    return start, answer


async def connect(below: OneNode, above: OneNode) -> None:
    """Begin a stream between two nodes, up to the first frame of the node below."""
    start, answer = await open_stream(below, above)
    await below.exchange.begin(answer, above.region, is_above=True)
    await above.exchange.align(start, below.region)


async def pump(sender: OneNode, receiver: OneNode) -> int:
    """Send everything that waits for a node. Return the number of frames."""
    is_above = within(sender.region, receiver.region)
    frames = 0
    while outgoing := await sender.exchange.read_outbox(receiver.region, is_above=is_above):
        frames += 1
        assert frames < 20, "the nodes send each other the same reports for ever"
        number = next(FRAME_NUMBERS)
        messages = [one.message for one in outgoing if one.message is not None]
        deferred = await receiver.exchange.receive(
            sender.region, RefusalExchangeFrame(number=number, refusals=messages)
        )
        await sender.exchange.acknowledge(receiver.region, number, outgoing, deferred, 60.0)
    return frames


async def settle(*links: tuple[OneNode, OneNode]) -> None:
    """Exchange until nothing waits on these links."""
    for _ in range(20):
        if not sum([await pump(*pair) for link in links for pair in (link, link[::-1])]):
            return
    raise AssertionError("the nodes never come to rest")


async def joined(country: list[OneNode]) -> list[tuple[OneNode, OneNode]]:
    """Connect all nodes of a country."""
    nation, jilin, henan, zhengzhou = country
    links = [(jilin, nation), (henan, nation), (zhengzhou, henan)]
    for link in links:
        await connect(*link)
    return links
