"""Stores of several nodes that exchange reported refusals, without services."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame, RefusalExchangeStart
from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
)
from sqlalchemy import Connection, delete, insert, select

from services.domain.instant import Instant
from services.domain.region import within
from services.domain.subject import Pepper
from services.runtime.clock import FixedClock
from services.runtime.ids import uuid7
from services.storage.engine import Database, open_database
from services.verification.decision_counts.tables import decision_counts
from services.verification.refusal_exchange.duties import RefusalDuties
from services.verification.refusal_exchange.numbers import FrameNumbers
from services.verification.refusal_exchange.store import Outgoing, RefusalExchangeStore
from services.verification.refusal_exchange.streams import read_numbers
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
TABLES = (refusals, refusal_outbox, refusal_links, decision_counts)
Copy: TypeAlias = list[list[dict[str, Any]]]
"""The rows of the tables."""


class OneNode:
    """The stores of one node, without services."""

    def __init__(self, region: str, url: str, clock: FixedClock) -> None:
        self.region = region
        self.clock = clock
        # The newest stream with each other node.
        self.streams: dict[str, int] = {}
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

    async def numbers(self, other: OneNode) -> FrameNumbers:
        """Return the numbers of the link to another node."""
        return await self.database.write(read_numbers, other.region) or FrameNumbers()

    def copy(self) -> Copy:
        """Return what the node has stored."""
        return self.database.read_now(
            lambda connection: [[dict(row) for row in connection.execute(select(one)).mappings()] for one in TABLES]
        )

    def restore(self, copy: Copy | None = None) -> None:
        """Go back to what the node had stored; to nothing without a copy."""

        def work(connection: Connection) -> None:
            for table, rows in zip(TABLES, copy or [[] for _ in TABLES], strict=True):
                connection.execute(delete(table))
                if rows:
                    connection.execute(insert(table), rows)

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


def _first_frame(numbers: FrameNumbers) -> RefusalExchangeStart:
    return RefusalExchangeStart(
        acknowledged_number=numbers.acknowledged, received_number=numbers.received, sent_number=numbers.sent
    )


async def open_stream(below: OneNode, above: OneNode) -> RefusalExchangeStart:
    """Begin a stream at the node above. Return the first frame of the node above."""
    begun = await above.exchange.begin(_first_frame(await below.exchange.ask()), below.region, is_above=False)
    above.streams[below.region] = begun.stream
    return _first_frame(begun.numbers)


async def connect(below: OneNode, above: OneNode) -> None:
    """Begin a stream between two nodes."""
    begun = await below.exchange.begin(await open_stream(below, above), above.region, is_above=True)
    below.streams[above.region] = begun.stream


async def send_one(sender: OneNode, receiver: OneNode) -> tuple[int, list[Outgoing], list[str]]:
    """Send one frame that the receiver stores. Return its number, its reports and those that are deferred."""
    outgoing = await sender.exchange.read_outbox(receiver.region, is_above=within(sender.region, receiver.region))
    stream = sender.streams[receiver.region]
    number = 1 + (await sender.numbers(receiver)).greatest_sent
    await sender.exchange.note_sent(receiver.region, stream, number)
    messages = [one.message for one in outgoing if one.message is not None]
    frame = RefusalExchangeFrame(number=number, refusals=messages)
    return number, outgoing, await receiver.exchange.receive(sender.region, receiver.streams[sender.region], frame)


async def pump(sender: OneNode, receiver: OneNode) -> int:
    """Send everything that waits for a node. Return the number of frames."""
    is_above = within(sender.region, receiver.region)
    frames = 0
    while await sender.exchange.read_outbox(receiver.region, is_above=is_above):
        frames += 1
        assert frames < 20, "the nodes send each other the same reports for ever"
        number, outgoing, deferred = await send_one(sender, receiver)
        stream = sender.streams[receiver.region]
        await sender.exchange.acknowledge(receiver.region, stream, number, outgoing, deferred, 60.0)
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
