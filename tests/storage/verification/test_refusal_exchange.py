"""Stores of several nodes exchange reported refusals, frame by frame, on either engine."""

from __future__ import annotations

import pytest
from hutong.exchange.v1.refusal_exchange_service_pb2 import RefusalExchangeFrame
from hutong.verification.v1 import refusal_pb2
from prometheus_client import REGISTRY

from services.domain.errors import FailedPrecondition, NotFound, Unavailable
from services.domain.instant import HOUR
from services.storage.advisory_locks import AdvisoryLock
from services.storage.process_lock import try_process_lock
from services.verification.refusals.routing import ANSWER_WITHIN
from services.verification.refusals.rules import UNLAWFUL
from services.verification.refusals.store import RefusalFilter
from tests.support.verification.refusal_nodes import (
    HENAN,
    JILIN,
    NATION,
    NOON,
    ZHENGZHOU,
    OneNode,
    connect,
    joined,
    open_stream,
    send_one,
    settle,
)


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


async def test_a_node_that_was_restored_gets_everything_again(country: list[OneNode]) -> None:
    """Each node in turn loses its store. The others give it back what it had, with the same receipt."""
    links = await joined(country)
    jilin, zhengzhou = country[1], country[3]
    reported = await jilin.report()
    await settle(*links)
    await zhengzhou.answer(reported.uuid, "sorry")
    await settle(*links)
    for node in country:
        node.restore()
        await joined(country)
        await settle(*links)
        country[0].clock.advance(HOUR)
        await settle(*links)
        found = await node.reports.get_refusal(reported.uuid)
        assert (found.answer, found.code, found.origin_node) == ("sorry", reported.code, JILIN), node.region


async def test_a_restored_node_gets_everything_although_its_first_answer_was_lost(small: list[OneNode]) -> None:
    """The link is cut while the nation answers the first frame of Jilin. Jilin connects again."""
    nation, jilin, _, _ = small
    links = await joined(small)
    reported = await jilin.report()
    await settle(*links)
    nation.restore()
    await open_stream(jilin, nation)
    await connect(jilin, nation)
    await settle(*links)
    assert (await nation.reports.get_refusal(reported.uuid)).origin_node == JILIN
    await connect(jilin, nation)
    assert (nation.waiting(), jilin.waiting()) == (0, 0)


async def test_a_node_that_lost_one_frame_gets_it_again(small: list[OneNode]) -> None:
    """The copy lacks one acknowledged frame, as after a failover to a standby that lagged by a second."""
    nation, jilin, _, _ = small
    await joined(small)
    copy = jilin.copy()
    reported = await jilin.report()
    await settle((jilin, nation))
    jilin.restore(copy)
    await connect(jilin, nation)
    await settle((jilin, nation))
    assert (await jilin.reports.get_refusal(reported.uuid)).code == reported.code


async def test_both_nodes_of_a_link_are_restored(small: list[OneNode]) -> None:
    """The nation is restored after Jilin, before it has sent anything again. Jilin still gets its report back."""
    nation, jilin, _, _ = small
    await joined(small)
    lost = jilin.copy()
    reported = await jilin.report()
    await settle((jilin, nation))
    copy = nation.copy()
    jilin.restore(lost)
    await connect(jilin, nation)
    nation.restore(copy)
    await connect(jilin, nation)
    await settle((jilin, nation))
    assert (await jilin.reports.get_refusal(reported.uuid)).code == reported.code


async def test_an_earlier_stream_changes_nothing(small: list[OneNode]) -> None:
    """A frame or an acknowledgement may be stored late, after one of the nodes was restored. Both are refused."""
    nation, jilin, _, _ = small
    await joined(small)
    await jilin.report()
    number, outgoing, _ = await send_one(jilin, nation)
    old = jilin.streams[NATION], nation.streams[JILIN]
    await connect(jilin, nation)
    with pytest.raises(Unavailable, match="another replication"):
        await jilin.exchange.acknowledge(NATION, old[0], number, outgoing, [], 60.0)
    with pytest.raises(Unavailable, match="another replication"):
        await nation.exchange.receive(JILIN, old[1], RefusalExchangeFrame(number=number))
    assert jilin.waiting() == 1


async def test_a_lie_about_numbers_ends_with_the_lie(small: list[OneNode]) -> None:
    """Jilin sends a frame with the greatest number. Later it tells the truth, and its reports arrive."""
    nation, jilin, _, _ = small
    await joined(small)
    await nation.exchange.receive(JILIN, nation.streams[JILIN], RefusalExchangeFrame(number=2**63 - 1))
    reported = await jilin.report()
    for _ in range(2):
        await connect(jilin, nation)
        await settle((jilin, nation))
    assert (await nation.reports.get_refusal(reported.uuid)).origin_node == JILIN
    assert (await nation.numbers(jilin)).received == (await jilin.numbers(nation)).acknowledged < 2**62


async def test_a_link_that_was_only_cut_sends_nothing_again(small: list[OneNode]) -> None:
    links = await joined(small)
    await small[1].report()
    await settle(*links)
    await joined(small)
    assert [node.waiting() for node in small] == [0, 0, 0, 0]


def set_aside(region: str, reason: str) -> float:
    """Return how many reports of a node were set aside for a reason."""
    labels = {"node": f"nodes/{region}", "reason": reason}
    return REGISTRY.get_sample_value("hutong_refusals_set_aside_total", labels) or 0.0


async def test_a_report_of_an_impossible_key_version_is_set_aside(small: list[OneNode]) -> None:
    """PostgreSQL could not store the version. The other reports of the frame are taken."""
    nation, jilin, _, _ = small
    links = await joined(small)
    faulty = await jilin.report(key_version=40_000)
    sound = await jilin.report(subject=b"z" * 16)
    before = set_aside(JILIN, "INVALID_FIELD")
    await settle(*links)
    assert set_aside(JILIN, "INVALID_FIELD") == before + 1
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
