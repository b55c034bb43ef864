"""Stores of several nodes exchange reported refusals, frame by frame, on either engine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame, RefusalExchangeStart
from hutong.exchange.v1.replicated_refusal_pb2 import ShownDecision
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
)
from sqlalchemy import Connection, delete, select

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import DAY, HOUR, Instant
from services.domain.names import format_decision
from services.domain.region import within
from services.domain.subject import Pepper
from services.runtime.clock import FixedClock
from services.runtime.ids import uuid7
from services.storage.advisory_locks import AdvisoryLock
from services.storage.engine import Database, open_database
from services.storage.process_lock import try_process_lock
from services.verification.decision_counts.model import CountKey
from services.verification.decision_counts.store import CountRange, add_counts, sum_counts
from services.verification.decision_counts.tables import decision_counts
from services.verification.refusal_exchange.counts import DecisionCountOutbox
from services.verification.refusal_exchange.duties import RefusalDuties
from services.verification.refusal_exchange.session import RefusalSession
from services.verification.refusal_exchange.store import RefusalExchangeStore
from services.verification.refusal_exchange.timing import RefusalTiming
from services.verification.refusals.outbox import read_links
from services.verification.refusals.receipts import receipt_code, same_report_key
from services.verification.refusals.report_writer import ReportWriter
from services.verification.refusals.routing import ANSWER_WITHIN
from services.verification.refusals.rows import MOST_SAME
from services.verification.refusals.rules import UNLAWFUL, Refusal
from services.verification.refusals.store import NewReport, RefusalFilter, RefusalStore
from services.verification.refusals.tables import refusal_links, refusal_outbox, refusals
from tests.support.databases import MakeUrl
from tests.support.waiting import until

NATION, JILIN, HENAN, ZHENGZHOU = "000000", "220000", "410000", "410100"
PLACE = "410105"
NOON: Instant = 1_660_190_400_000_000
PEPPER = Pepper(b"p" * 32)
HOTEL = purpose_pb2.PURPOSE_HOTEL
NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
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
        refusal = Refusal(
            uuid,
            region,
            "站前宾馆",
            HOTEL,
            now,
            (NOT_LOCAL,),
            (),
            "",
            0,  # type: ignore[arg-type]
            "他们要求我重新检测",
            subject,
            1,
            now,
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


@pytest.fixture
def country(database_url: MakeUrl) -> Iterator[list[OneNode]]:
    """A nation, two provinces, and a city below the second one."""
    with nodes_of((NATION, JILIN, HENAN, ZHENGZHOU), database_url) as nodes:
        yield nodes


@pytest.fixture
def small(sqlite_url: MakeUrl) -> Iterator[list[OneNode]]:
    """The same country on SQLite."""
    with nodes_of((NATION, JILIN, HENAN, ZHENGZHOU), sqlite_url) as nodes:
        yield nodes


async def connect(below: OneNode, above: OneNode) -> None:
    """Begin a stream between two nodes."""
    acknowledged, received = await below.exchange.numbers_above()
    start = RefusalExchangeStart(acknowledged_number=acknowledged, received_number=received)
    begun = await above.exchange.begin(start, below.region, is_above=False)
    answer = RefusalExchangeStart(acknowledged_number=begun.acknowledged_number, received_number=begun.received_number)
    await below.exchange.begin(answer, above.region, is_above=True)


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


async def test_a_report_reaches_its_place_and_the_answer_comes_back(country: list[OneNode]) -> None:
    """Told in Jilin, assessed and answered in Zhengzhou, known to the nation without its words."""
    nation, jilin, _, zhengzhou = country
    links = await joined(country)
    reported = await jilin.report()
    with pytest.raises(FailedPrecondition) as caught:
        await jilin.answer(reported.uuid, "here")
    assert caught.value.reason == "NOT_RESPONSIBLE"
    await settle(*links)
    assert [(await node.reports.get_refusal(reported.uuid)).responsible_node for node in country] == [ZHENGZHOU] * 4
    assert (await zhengzhou.reports.get_refusal(reported.uuid)).statement == reported.statement
    with pytest.raises(FailedPrecondition):
        await nation.answer(reported.uuid, "from above")
    await zhengzhou.assess(reported.uuid)
    await zhengzhou.answer(reported.uuid, "we are sorry, 410105186001010019")
    await settle(*links)
    for node in country:
        (found,) = await node.listed()
        assert (found.assessment, found.assess_node) == (UNLAWFUL, ZHENGZHOU)
        assert (found.answer, found.answer_node) == ("we are sorry, 41**************19", ZHENGZHOU)
    assert (await jilin.reports.get_by_code(reported.code or "")).answer_time is not None
    assert [node.waiting() for node in country] == [0, 0, 0, 0]
    local = await zhengzhou.report(subject=None)
    await settle(*links)
    assert (await nation.reports.get_refusal(local.uuid)).statement == ""
    with pytest.raises(NotFound):
        await jilin.reports.get_refusal(local.uuid)


async def test_two_reports_of_one_refusal_are_one_everywhere(country: list[OneNode]) -> None:
    """Told at the nation, in Jilin and in Zhengzhou before they meet: the earliest counts, and all get its answer."""
    nation, jilin, _, zhengzhou = country
    links = await joined(country)
    reported = [await node.report() for node in (zhengzhou, nation, jilin)]
    await zhengzhou.answer(reported[0].uuid, "sorry")
    await settle(*links)
    for node in country:
        assert [one.uuid for one in await node.listed()] in ([reported[0].uuid], []), node.region
    for node, own in zip((zhengzhou, nation, jilin), reported, strict=True):
        found = await node.reports.get_refusal(own.uuid)
        assert (found.answer, found.duplicate_of) == ("sorry", "" if own is reported[0] else reported[0].uuid)
    assert [one.uuid for one in await nation.listed()] == [reported[0].uuid]
    again = await nation.report()
    assert again.uuid == reported[0].uuid


async def test_reports_under_two_key_versions_are_one(country: list[OneNode]) -> None:
    """While the pepper rotates, some nodes know one version and others know both.

    A report from either kind of node may come first.
    """
    old, new = b"o" * 16, b"n" * 16
    links = await joined(country)
    nation, jilin, henan, zhengzhou = country
    first = await jilin.report(old)
    assert (await jilin.report(new, other_subject=old, key_version=2)).uuid == first.uuid
    await henan.report(new, other_subject=old, key_version=2)
    last = await zhengzhou.report(new, key_version=2)
    await settle(*links)
    await zhengzhou.answer(first.uuid, "sorry")
    await settle(*links)
    for node in country:
        assert [one.uuid for one in await node.listed()] == [first.uuid], node.region
    assert (await nation.reports.get_refusal(last.uuid)).answer == "sorry"
    # A node that knows only the new version finds the report under both versions.
    other = await nation.report(new, region="410106", other_subject=old, key_version=2)
    for subject, version in ((old, 1), (new, 2)):
        assert (await nation.report(subject, region="410106", key_version=version)).uuid == other.uuid


async def test_a_report_with_both_keys_unites_reports_of_one_key_each(country: list[OneNode]) -> None:
    """Before that report, the two look like reports of two persons.

    The earliest report gets the answer of the others.
    """
    old, new = b"o" * 16, b"n" * 16
    links = await joined(country)
    nation, _, _, zhengzhou = country
    first, second = await nation.report(old), await nation.report(new, key_version=2)
    assert second.uuid != first.uuid
    await settle(*links)
    await zhengzhou.answer(second.uuid, "sorry")
    await settle(*links)
    assert (await zhengzhou.report(old, other_subject=new)).uuid == first.uuid
    await settle(*links)
    for node in country[:1] + country[2:]:
        assert [(one.uuid, one.answer) for one in await node.listed()] == [(first.uuid, "sorry")], node.region
        assert (await node.reports.get_refusal(second.uuid)).duplicate_of == first.uuid


async def test_a_duplicate_brings_the_key_of_the_other_version(small: list[OneNode]) -> None:
    """Henan finds that its report is a duplicate, and sends this to the other nodes.

    Each node then knows the report by both keys.
    """
    old, new = b"o" * 16, b"n" * 16
    nation, _, henan, zhengzhou = small
    await joined(small)
    first = await nation.report(old)
    await henan.report(new, other_subject=old, key_version=2)
    await pump(nation, henan)
    await pump(henan, nation)
    await pump(henan, zhengzhou)
    for node in (nation, henan, zhengzhou):
        assert (await node.report(new, key_version=2)).uuid == first.uuid, node.region


async def test_a_key_of_the_other_version_is_not_sent(small: list[OneNode]) -> None:
    """The message of a report contains no such key of an earlier report."""
    old, new = b"o" * 16, b"n" * 16
    links = await joined(small)
    henan = small[2]
    first = await henan.report(old)
    await settle(*links)
    assert (await henan.report(old, other_subject=new)).uuid == first.uuid
    assert henan.waiting() == 0
    assert (await henan.report(new, key_version=2)).uuid == first.uuid


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(("version", "newer"), [(1, None), (2, b"2" * 16)])
async def test_a_lying_node_unites_no_reports_of_two_persons(
    small: list[OneNode], version: int, newer: bytes | None, is_first: bool
) -> None:
    """Jilin reports a refusal in Zhengzhou with keys of two persons, before or after the second person reports one."""
    one, other = b"o" * 16, b"n" * 16
    links = await joined(small)
    nation, jilin, _, zhengzhou = small
    first = await zhengzhou.report(one)
    await settle(*links)
    second = None if is_first else await zhengzhou.report(other, other_subject=newer)
    await settle(*links)
    await jilin.report(one, other_subject=other, key_version=version)
    await settle(*links)
    second = second or await zhengzhou.report(other, other_subject=newer)
    await settle(*links)
    for node in (nation, zhengzhou):
        for own in (first, second):
            found = await node.reports.get_refusal(own.uuid)
            assert (found.subject_key, found.duplicate_of) == (own.subject_key, ""), node.region
    assert second.subject_key == other


async def test_a_report_is_united_with_a_limited_number_of_others(small: list[OneNode]) -> None:
    """A lying node has sent many reports with one key of the other version."""
    links = await joined(small)
    nation, jilin, _, zhengzhou = small
    for number in range(MOST_SAME + 3):
        await jilin.report(bytes([number]) * 16, other_subject=b"v" * 16, key_version=2)
    await settle(*links)
    await zhengzhou.report(b"v" * 16)
    await settle(*links)
    assert len(await nation.listed()) == 4


async def test_reports_of_one_refusal_that_are_stored_at_the_same_time_are_one(database_url: MakeUrl) -> None:
    """The two reports have their common key in different columns, so no unique index excludes the second one."""
    old, new = b"o" * 16, b"n" * 16
    url = database_url("verification")
    with nodes_of((NATION, NATION), lambda _: url) as (one, other):
        regions = [f"4101{number:02}" for number in range(2, 32)]
        for region in regions:
            await asyncio.gather(one.report(new, region, other_subject=old, key_version=2), other.report(old, region))
        assert sorted(it.region for it in await one.listed()) == regions


async def test_a_duplicate_of_an_assessed_report_keeps_no_shown_decision(small: list[OneNode]) -> None:
    """The node of the place assesses the earliest report. Its later reports need nothing for an assessment."""
    nation, _, henan, zhengzhou = small
    await joined(small)
    early = await zhengzhou.report()
    await zhengzhou.assess(early.uuid)
    shown = ShownDecision(name=format_decision(uuid7())).SerializeToString()
    late = await nation.report(shown_decision=shown)
    await pump(nation, henan)
    await pump(henan, zhengzhou)
    duplicate = await zhengzhou.reports.get_refusal(late.uuid)
    assert (duplicate.duplicate_of, duplicate.assessment) == (early.uuid, UNLAWFUL)
    assert duplicate.shown_decision == b""


async def test_an_earlier_report_that_comes_late_takes_the_place_of_a_later_one(small: list[OneNode]) -> None:
    """Jilin was away. Its earlier report has the answer of the later one, which is now its duplicate."""
    nation, jilin, _, _ = small
    links = await joined(small)
    early = await jilin.report()
    late = await nation.report()
    await settle(*links[1:])
    await small[3].answer(late.uuid, "sorry")
    await settle(*links)
    for node in small:
        assert (await node.reports.get_refusal(early.uuid)).answer == "sorry"
    assert [one.uuid for one in await nation.listed()] == [early.uuid]


async def test_a_node_that_was_restored_gets_everything_again(country: list[OneNode]) -> None:
    """Each node in turn loses its store. The others give it back what it had, with the same receipt."""
    links = await joined(country)
    jilin, zhengzhou = country[1], country[3]
    reported = await jilin.report()
    await settle(*links)
    await zhengzhou.answer(reported.uuid, "sorry")
    await settle(*links)
    for node in country:
        node.forget()
        await joined(country)
        await settle(*links)
        country[0].clock.advance(HOUR)
        await settle(*links)
        found = await node.reports.get_refusal(reported.uuid)
        assert (found.answer, found.code, found.origin_node) == ("sorry", reported.code, JILIN), node.region


async def test_a_link_that_was_only_cut_sends_nothing_again(small: list[OneNode]) -> None:
    links = await joined(small)
    await small[1].report()
    await settle(*links)
    await joined(small)
    assert [node.waiting() for node in small] == [0, 0, 0, 0]


async def test_a_report_of_an_impossible_key_version_is_set_aside(small: list[OneNode]) -> None:
    """PostgreSQL could not store the version. The other reports of the frame are taken."""
    nation, jilin, _, _ = small
    links = await joined(small)
    faulty = await jilin.report(key_version=40_000)
    sound = await jilin.report(subject=b"z" * 16)
    await settle(*links)
    with pytest.raises(NotFound):
        await nation.reports.get_refusal(faulty.uuid)
    assert (await nation.reports.get_refusal(sound.uuid)).origin_node == JILIN


async def test_a_lying_node_changes_nothing_of_others(small: list[OneNode]) -> None:
    """Jilin answers a report of Zhengzhou, invents one of Henan, and claims one of Zhengzhou for itself."""
    nation, jilin, _, zhengzhou = small
    links = await joined(small)
    reported = await jilin.report()
    other = await zhengzhou.report(subject=b"z" * 16)
    await settle(*links)
    await jilin.change(
        await jilin.reports.get_refusal(reported.uuid),
        answer="done",
        answer_node=JILIN,
        answer_time=NOON,
        assessment=refusal_pb2.REFUSAL_ASSESSMENT_NOT_UNLAWFUL,
        assess_node=JILIN,
        assess_time=NOON,
        responsible_node=JILIN,
        escalation_count=9,
    )
    invented = await jilin.report(subject=b"i" * 16, origin_node=HENAN)
    await jilin.report(subject=b"c" * 16, uuid=other.uuid)
    await settle(*links)
    for node in (nation, zhengzhou):
        found = await node.reports.get_refusal(reported.uuid)
        assert (found.answer_time, found.assess_time, found.responsible_node) == (None, None, ZHENGZHOU)
        assert (await node.reports.get_refusal(other.uuid)).subject_key == b"z" * 16
        with pytest.raises(NotFound):
            await node.reports.get_refusal(invented.uuid)


async def test_an_overdue_report_goes_up_one_node_at_a_time(country: list[OneNode]) -> None:
    """Zhengzhou does not answer: Henan takes over, then the nation, which then also has the words."""
    nation, jilin, henan, zhengzhou = country
    links = await joined(country)
    reported = await zhengzhou.report()
    await settle(*links)
    clock = nation.clock
    for above, count in ((henan, 1), (nation, 2)):
        for node in (henan, nation):
            await node.duties.take_over_overdue()
        await settle(*links)
        assert (await nation.reports.get_refusal(reported.uuid)).escalation_count == count - 1
        clock.advance(ANSWER_WITHIN + HOUR)
        assert [one.uuid for one in await nation.listed(overdue_at=clock.now())] == [reported.uuid]
        for node in (henan, nation):
            await node.duties.take_over_overdue()
            await settle(*links)
        for node in (nation, henan, zhengzhou):
            found = await node.reports.get_refusal(reported.uuid)
            assert (found.responsible_node, found.escalation_count) == (above.region, count), node.region
            assert not found.is_overdue(clock.now())
    assert (await nation.reports.get_refusal(reported.uuid)).statement == reported.statement
    # The city may still answer. If both do before they meet, the answer of the node above holds.
    await zhengzhou.answer(reported.uuid, "late")
    await nation.answer(reported.uuid, "from the nation")
    await settle(*links)
    for node in (nation, henan, zhengzhou):
        assert (await node.reports.get_refusal(reported.uuid)).answer == "from the nation"
    assert not await jilin.listed()


async def send_counts(below: OneNode, above: OneNode) -> int:
    """Run the lower end of a stream until the node above lacks no count. Return the number of frames with counts."""
    answers: asyncio.Queue[RefusalExchangeFrame] = asyncio.Queue()
    sent: list[int] = []

    async def write(frame: RefusalExchangeFrame) -> None:
        if frame.decision_counts:
            await above.exchange.receive(below.region, frame)
            answers.put_nowait(RefusalExchangeFrame(acknowledged_number=frame.number))
            sent.append(frame.number)

    outbox = DecisionCountOutbox(below.database)
    number, _ = await below.exchange.numbers_above()
    # Counts are read once, so whatever is to be sent is sent without a pause.
    timing = RefusalTiming(idle=0, counts=3600)
    session = RefusalSession(
        below.exchange, above.region, timing, answers.get, write, is_above=True, last_number=number, counts=outbox
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
    wanted, by_node = CountRange("", NOON, NOON + DAY), decision_counts.c.node
    found = await node.database.read(sum_counts, wanted, by_node, by_day=False)
    return {one.group: one.counts.total for one in found}


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
    nation.forget()
    await connect(henan, nation)
    assert await counted(nation) == {}
    assert await send_counts(henan, nation) > 0
    assert await counted(nation) == {ZHENGZHOU: 6, HENAN: 4}
    # The province is gone. It had every count of the city, and the nation above gets them once more.
    nation.forget()
    await connect(zhengzhou, nation)
    assert await send_counts(zhengzhou, nation) > 0
    assert await counted(nation) == {ZHENGZHOU: 6}


async def test_more_overdue_reports_than_one_transaction_takes(small: list[OneNode]) -> None:
    """A node takes over all of them, in several transactions."""
    henan, zhengzhou = small[2:]
    await connect(zhengzhou, henan)
    for _ in range(101):
        await henan.report(subject=None, responsible_node=ZHENGZHOU)
    henan.clock.advance(ANSWER_WITHIN + HOUR)
    await henan.duties.take_over_overdue()
    taken = await henan.reports.list_refusals(RefusalFilter(), "", 200)
    assert {(one.responsible_node, one.escalation_count) for one in taken} == {(HENAN, 1)}
    assert len(taken) == 101


async def test_only_one_process_of_a_node_assesses(country: list[OneNode]) -> None:
    """While another process assesses, a process leaves the reports to it, which it could not assess here."""
    nation = country[0]
    await nation.report()
    with try_process_lock(nation.database, "assessments", AdvisoryLock.ASSESSMENTS) as is_held:
        assert is_held
        await nation.duties.assess_waiting()
    with pytest.raises(AttributeError):
        await nation.duties.assess_waiting()


async def test_a_node_between_two_others_is_preferred(small: list[OneNode]) -> None:
    """A city that has called the nation must call its province once that has called."""
    nation, _, henan, zhengzhou = small
    await connect(zhengzhou, nation)
    reported = await nation.report()
    await connect(henan, nation)
    with pytest.raises(FailedPrecondition) as caught:
        await connect(zhengzhou, nation)
    assert caught.value.reason == "NOT_AN_UPSTREAM"
    await connect(zhengzhou, henan)
    await settle((henan, nation), (zhengzhou, henan))
    assert (await zhengzhou.reports.get_refusal(reported.uuid)).responsible_node == ZHENGZHOU
    assert [node.waiting() for node in small] == [0, 0, 0, 0]
