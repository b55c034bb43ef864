"""What laboratories answer to missing reports, in the store: the newest answer counts, and a record outweighs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from random import Random

import pytest
from hutong.type.v1.capability_pb2 import CAPABILITY_LAB_ANSWERS, CAPABILITY_LISTED_MISSING_REPORTS
from prometheus_client import REGISTRY
from sqlalchemy import Connection, delete, insert, update

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import DAY, HOUR, SECOND
from services.results.changelog.log import ChangeLog, read_entries
from services.results.changelog.model import ChangeKind
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.arrival import Applied, Arrival
from services.results.exchange.downstream.missing_report_routing import MiddleRouter
from services.results.exchange.downstream.notifications.notifications import (
    notify_nodes,
    read_notifications,
    repeat_missed,
    repeat_withheld,
)
from services.results.exchange.load import changes_of
from services.results.exchange.tables import lab_homes, nodes
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.outbox import append_registers, append_withheld, read_page
from services.results.exchange.withheld import note_withheld, unknown_kinds
from services.results.labs.tables import labs
from services.results.limits import ResultsLimits
from services.results.missing_reports.answers import answer_missing, find_answers, list_denied, store_answers
from services.results.missing_reports.model import NOT_OURS, TO_FOLLOW, LabAnswer, MissingReport
from services.results.missing_reports.store import close_missing, list_missing_reports, list_passed_on, store_missing
from services.storage.errors import BrokenOff
from tests.support.databases import MakeUrl
from tests.support.people import resident_number
from tests.support.results.factories import NOW, OTHER_USCC, USCC, make_tube
from tests.support.results.store import Laboratory, open_laboratory

JILIN, HENAN, NATION = "220000", "410000", "000000"
CITY, OTHER_CITY = "410100", "410300"
DENIED, TO_COME = LabAnswer(NOT_OURS, NOW, None, "labs/x"), LabAnswer(TO_FOLLOW, NOW, NOW + DAY)


@pytest.fixture
async def store(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """A store with one registered laboratory, of which the reports R1 and R2 are missing."""
    async with open_laboratory(database_url("results")) as opened:
        await opened.database.write(_fill)
        yield opened


def _fill(connection: Connection) -> None:
    columns = {"display_name": "", "region": "220500", "contact": "", "create_time": NOW}
    connection.execute(insert(labs).values(uscc=USCC, **columns))
    store_missing(connection, [_missing("R1"), _missing("R2")], (), ResultsLimits())


def _missing(number: str, answer: LabAnswer | None = None, lab: str = USCC, node: str = JILIN) -> MissingReport:
    return MissingReport(lab, number, NOW, node, answer=answer)


async def _answer(store: Laboratory, number: str, answer: LabAnswer) -> tuple[LabAnswer | None, bool]:
    report, is_new = await store.database.write(answer_missing, USCC, number, answer)
    return report.answer, is_new


async def _answers(store: Laboratory, *numbers: str, lab: str = USCC) -> dict[str, LabAnswer]:
    found = await store.database.read(find_answers, [(lab, number) for number in numbers])
    return {number: answer for (_, number), answer in found.items()}


async def _listed(store: Laboratory, *, include_closed: bool = False) -> list[str]:
    found = await store.database.read(list_missing_reports, "", None, 100, include_closed=include_closed)
    return [one.report.report_number for one in found]


async def test_the_newest_answer_counts_and_a_denied_report_is_awaited_no_more(store: Laboratory) -> None:
    """A repeated answer is the answer of before. A clock that goes back makes no answer older."""
    assert await _answer(store, "R1", TO_COME) == (TO_COME, True)
    assert await _listed(store) == ["R1", "R2"]
    assert await _answer(store, "R1", TO_COME._replace(answer_time=NOW + HOUR)) == (TO_COME, False)
    earlier = DENIED._replace(answer_time=NOW - HOUR)
    assert await _answer(store, "R1", earlier) == (DENIED._replace(answer_time=NOW + 1), True)
    assert await _answers(store, "R1", "R2", "R3") == {"R1": DENIED._replace(answer_time=NOW + 1)}
    assert await _listed(store) == ["R2"]
    assert await _listed(store, include_closed=True) == ["R1", "R2"]


async def test_only_a_listed_report_without_a_record_is_answered(store: Laboratory) -> None:
    """A report is not listed if another node lists it, or if its laboratory is not registered here."""
    await store.send([make_tube(1)])
    with pytest.raises(FailedPrecondition) as conflict:
        await _answer(store, "R1", DENIED)
    assert conflict.value.reason == "CONFLICT"
    await store.database.write(store_missing, [_missing("R4")], {USCC}, ResultsLimits())
    for number in ("R3", "R4"):
        with pytest.raises(NotFound):
            await _answer(store, number, DENIED)
    # The laboratory is registered here, and is at home at a node below, which answers.
    await store.database.write(lambda connection: connection.execute(update(labs).values(home=CITY)) and None)
    with pytest.raises(FailedPrecondition, match=f"nodes/{CITY} has registered the laboratory"):
        await _answer(store, "R4", DENIED)
    await store.database.write(lambda connection: connection.execute(delete(labs)) and None)
    with pytest.raises(NotFound):
        await _answer(store, "R2", DENIED)


async def test_a_laboratory_that_answers_is_asked_about_further_reports(store: Laboratory) -> None:
    limits = ResultsLimits(missing_reports_per_lab=2)
    more = [_missing("R3")]
    assert await store.database.write(store_missing, more, (), limits) == ([], 1)
    await _answer(store, "R1", TO_COME)
    assert await store.database.write(store_missing, more, (), limits) == ([], 1)
    await _answer(store, "R1", DENIED)
    assert await store.database.write(store_missing, more, (), limits) == (more, 0)


async def test_answers_that_arrive_in_any_order_and_twice_have_one_effect(store: Laboratory) -> None:
    """Reports that are not stored here are stored with their answer, up to a capacity."""
    random = Random(7)
    answers = [LabAnswer(random.choice([NOT_OURS, TO_FOLLOW]), NOW + time * SECOND) for time in range(6)]
    arriving = [_missing(number, answer) for number in ("R1", "R9") for answer in answers] * 2
    random.shuffle(arriving)
    limits = ResultsLimits(lab_answers=2)
    for report in arriving:
        await store.database.write(store_answers, [report], (), limits, NOW)
    assert await _answers(store, "R1", "R9") == {"R1": answers[-1], "R9": answers[-1]}
    assert await store.database.write(store_answers, arriving, (), limits, NOW) == ([], 0)
    assert await _listed(store, include_closed=True) == ["R1", "R2", "R9"]
    of_lab = _missing("R8", DENIED)
    assert await store.database.write(store_answers, [of_lab], {USCC}, limits, NOW) == ([], 1)
    await store.database.write(store_answers, [of_lab], {USCC}, ResultsLimits(), NOW)
    assert await _listed(store, include_closed=True) == ["R1", "R2", "R8", "R9"]
    assert await store.database.read(list_passed_on, [USCC]) == {USCC: ["R9"]}


async def test_denials_are_listed_from_the_time_of_their_storing(store: Laboratory) -> None:
    """Denials by any laboratory are listed.

    Reports to follow, reports with a record, and reports that were uploaded elsewhere are not listed.
    """

    async def listed(start: int | None = None, after: tuple[str, str] | None = None, limit: int = 9) -> list[str]:
        return [number for _, number in await store.database.read(list_denied, start, after, limit)]

    assert await listed() == []
    await _answer(store, "R1", DENIED)
    await _answer(store, "R2", TO_COME)
    # The other node recorded the denial long ago. It is stored here an hour after the denial of R1.
    of_other = _missing("R9", DENIED._replace(answer_time=NOW - DAY))
    await store.database.write(store_answers, [of_other], (), ResultsLimits(), NOW + HOUR)
    assert await listed() == ["R1", "R9"]
    assert await listed(NOW) == ["R1", "R9"]
    assert await listed(NOW + 1) == ["R9"]
    assert (await listed(limit=1), await listed(None, (USCC, "R1"))) == (["R1"], ["R9"])
    # A later answer replaces a denial.
    await _answer(store, "R1", TO_COME._replace(answer_time=NOW + SECOND))
    assert await listed() == ["R9"]
    await store.database.write(close_missing, [of_other._replace(close_time=NOW)])
    assert await listed() == []
    await _answer(store, "R2", DENIED)
    await store.send([make_tube(2)])
    assert await listed() == []


async def test_a_dropped_answer_counts_once_its_transaction_is_committed(store: Laboratory) -> None:
    """A transaction that the database breaks off is tried again, and would count the answer again."""

    def dropped() -> float:
        return REGISTRY.get_sample_value("hutong_missing_reports_dropped_total", {"why": "limit reached"}) or 0.0

    limits, change_log = ResultsLimits(lab_answers=0), ChangeLog([])
    applier = ChangeApplier(change_log, MiddleRouter(change_log, limits), limits=limits)

    def break_off(connection: Connection) -> None:
        applier.apply(connection, [_missing("R9", DENIED)], Arrival(HENAN, NATION, NOW))
        raise BrokenOff

    before = dropped()
    with pytest.raises(BrokenOff):
        await store.database.write(break_off)
    assert dropped() == before
    notified = NotificationStore(store.database, store.clock, HENAN, applier, store.stores.partitions)
    await notified.apply([_missing("R9", DENIED)])
    assert dropped() == before + 1


async def test_an_answer_goes_from_the_home_up_and_to_all_nodes_below_but_the_sender(store: Laboratory) -> None:
    """An answer of a node that is not the home is set aside.

    A log that begins anew, and a node that begins to listen, get the answers again.
    """
    change_log = ChangeLog([partial(notify_nodes, own=HENAN)])
    applier = ChangeApplier(change_log, MiddleRouter(change_log, ResultsLimits()), relays=True)
    answered = _missing("R7", DENIED, OTHER_USCC, CITY)
    columns = {"contact_time": NOW, "backlog": 0, "clock_skew": 0, "conflict_count": 0, "newest_notification": 0}
    cities = insert(nodes).values([{"node": node, **columns} for node in (CITY, OTHER_CITY)])
    await store.database.write(lambda connection: connection.execute(cities) and None)

    async def apply(sender: str, *changes: MissingReport) -> Applied:
        return await store.database.write(applier.apply, changes, Arrival(HENAN, sender, NOW))

    def sent_up(connection: Connection) -> list[object]:
        logged = [one for one in read_entries(connection, {}) if one.kind is ChangeKind.MISSING_REPORT_ANSWERS]
        return [change for entry in logged for change in changes_of(connection, entry)]

    async def sent_to(node: str) -> list[object]:
        found = await store.database.read(read_notifications, node, 0, HENAN)
        return [change for one in found for change in one.changes if isinstance(change, MissingReport)]

    assert (await apply(OTHER_CITY, answered)).not_its_own == {OTHER_CITY: 1}
    assert await store.database.read(sent_up) == []
    for _ in range(2):
        assert (await apply(CITY, answered)).not_its_own.total() == 0
    assert (await store.database.read(sent_up), await sent_to(OTHER_CITY)) == ([answered], [answered])
    assert await sent_to(CITY) == []
    from_above = _missing("R6", TO_COME)
    await apply(NATION, from_above, _missing(resident_number(7), DENIED))
    assert await _answers(store, resident_number(7)) == {}
    assert await _answers(store, "R6") == {"R6": TO_COME}
    assert await store.database.read(sent_up) == [answered]
    assert (await sent_to(OTHER_CITY), await sent_to(CITY)) == ([answered, from_above], [from_above])
    await store.database.write(append_registers, NOW)
    await store.database.write(repeat_missed, CITY, NOW, HENAN)
    assert await sent_to(CITY) == [from_above, from_above, answered]


async def test_a_node_that_does_not_know_answers_gets_them_once_it_does(store: Laboratory) -> None:
    """The answers are left out upwards and downwards, also for capabilities of a later release.

    Nothing is sent twice.
    """
    change_log = ChangeLog([partial(notify_nodes, own=HENAN)])
    applier = ChangeApplier(change_log, MiddleRouter(change_log, ResultsLimits()), relays=True)
    columns = {"contact_time": NOW, "backlog": 0, "clock_skew": 0, "conflict_count": 0, "newest_notification": 0}
    cities = insert(nodes).values([{"node": node, **columns} for node in (CITY, OTHER_CITY)])
    home = insert(lab_homes).values(uscc=OTHER_USCC, node=CITY)
    await store.database.write(lambda connection: [connection.execute(one) for one in (cities, home)] and None)
    answered = _missing("R7", DENIED, OTHER_USCC, CITY)
    await store.database.write(applier.apply, [answered], Arrival(HENAN, CITY, NOW))
    later = 9_999
    known = [CAPABILITY_LISTED_MISSING_REPORTS, later]
    older, newer = unknown_kinds(known), unknown_kinds([CAPABILITY_LAB_ANSWERS, *known])
    assert older == {ChangeKind.MISSING_REPORT_ANSWERS}
    assert not newer

    async def sent_to(unknown: frozenset[ChangeKind]) -> list[list[object]]:
        found = await store.database.read(read_notifications, OTHER_CITY, 0, HENAN, unknown)
        return [list(one.changes) for one in found if one.kind is ChangeKind.MISSING_REPORT_ANSWERS]

    async def sent_up(unknown: frozenset[ChangeKind]) -> list[list[object]]:
        page = await store.database.read(read_page, {}, HENAN, unknown)
        assert page.withheld == unknown
        return [list(one.changes) for one in page.commits if one.entry.kind is ChangeKind.MISSING_REPORT_ANSWERS]

    assert (await sent_to(older), await sent_up(older)) == ([[]], [[]])
    for node in (OTHER_CITY, NATION):
        for _ in range(2):
            await store.database.write(note_withheld, node, older)
    for unknown, times in ((older, 1), (newer, 2), (newer, 2)):
        await store.database.write(repeat_withheld, OTHER_CITY, unknown, NOW)
        await store.database.write(append_withheld, NATION, unknown, NOW)
        assert (await sent_to(newer), await sent_up(newer)) == ([[answered]] * times, [[answered]] * times)
