"""Missing reports in the store: which nodes list one, when it is closed, and limits against invented ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, CreateLabResponse
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy import Connection, delete, insert, select, update

from services.domain.instant import DAY, HOUR, SECOND, Instant
from services.results.changelog.log import ChangeLog, read_entries
from services.results.changelog.model import ChangeKind
from services.results.exchange.apply import ChangeApplier
from services.results.exchange.arrival import Arrival
from services.results.exchange.downstream.missing_report_routing import MiddleRouter, TopRouter
from services.results.exchange.downstream.notifications.notifications import (
    notify_nodes,
    read_notifications,
    repeat_missed,
)
from services.results.exchange.model import Change
from services.results.exchange.tables import lab_homes, nodes, notifications
from services.results.exchange.upstream.outbox import append_withheld
from services.results.exchange.withheld import note_withheld
from services.results.labs.tables import labs
from services.results.limits import ResultsLimits
from services.results.missing_reports.model import ListedReport, MissingReport, ShownReport
from services.results.missing_reports.queue import BATCH, MissingReportQueue
from services.results.missing_reports.routing import MissingReportRouter, RoutedReports
from services.results.missing_reports.store import (
    KEPT,
    can_be_missing,
    list_missing_reports,
    list_passed_on,
    remove_old,
    remove_with_keys,
)
from services.results.records.tables import deletions
from services.results.timing import ResultsTiming
from services.runtime.background import Background
from services.storage.idempotency import IdempotentRequest
from tests.support.databases import MakeUrl
from tests.support.people import resident_number
from tests.support.results.factories import NOW, OTHER_USCC, PENDING, REPORTED, USCC, make_lab, make_tube
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.waiting import until

QUICK = ResultsTiming(missing_report_pause=0.01, missing_report_retry=0.01)
HENAN, JILIN, NATION = "410000", "220000", "000000"


@pytest.fixture
async def store(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        yield opened


def claim(number: str, lab: str = USCC, *, reported: Instant | None = REPORTED, at: Instant = NOW) -> ShownReport:
    return ShownReport(lab, number, reported, at)


def make_router(
    change_log: ChangeLog, node: str, limits: ResultsLimits, *, has_upstream: bool = True
) -> MissingReportRouter:
    if node == NATION or not has_upstream:
        return TopRouter(change_log, limits)
    return MiddleRouter(change_log, limits)


async def show(
    store: Laboratory, *claims: ShownReport, node: str = JILIN, has_upstream: bool = True, now: Instant = NOW
) -> int:
    """Store claims made at a node. Return how many were dropped for want of capacity."""
    change_log = ChangeLog([notify_nodes])
    router = make_router(change_log, node, store.stores.limits, has_upstream=has_upstream)
    queue = MissingReportQueue(store.database, router, node, store.clock, ResultsTiming())
    return await store.database.write(queue.raise_reports, claims, now)


async def receive(store: Laboratory, *reports: MissingReport, node: str, sender: str) -> list[MissingReport]:
    """Apply reports that another node sends. Return those that other nodes must be notified of."""
    return [*(await route(store, *reports, node=node, sender=sender)).passed_on]


async def route(store: Laboratory, *reports: MissingReport, node: str, sender: str) -> RoutedReports:
    """Apply reports that another node sends."""
    change_log = ChangeLog([notify_nodes])
    router = make_router(change_log, node, store.stores.limits)
    return await store.database.write(router.receive, reports, sender)


async def apply(store: Laboratory, *changes: Change, sender: str) -> None:
    """Apply changes of a node at the nation."""
    change_log = ChangeLog([notify_nodes])
    applier = ChangeApplier(change_log, TopRouter(change_log, store.stores.limits))
    await store.database.write(applier.apply, changes, Arrival(NATION, sender, NOW))


async def register(store: Laboratory, uscc: str = USCC) -> None:
    """Register a laboratory."""
    lab = labs.insert().values(
        uscc=uscc, display_name="", region="220500", contact="", authorize_time=None, create_time=NOW
    )
    await store.database.write(lambda connection: connection.execute(lab) and None)


async def settle(store: Laboratory, node: str, uscc: str = USCC) -> None:
    """Apply at the nation that a node has registered a laboratory."""

    def work(connection: Connection) -> None:
        connection.execute(insert(lab_homes).values(uscc=uscc, node=node))
        connection.execute(
            insert(nodes).values(
                node=node, contact_time=NOW, backlog=0, clock_skew=0, conflict_count=0, newest_notification=0
            )
        )

    await store.database.write(work)


async def listed(
    store: Laboratory, lab: str = "", *, include_closed: bool = False, limit: int = 1000
) -> list[ListedReport]:
    return await store.database.read(list_missing_reports, lab, None, limit, include_closed=include_closed)


async def numbers(store: Laboratory, lab: str = "", *, include_closed: bool = False) -> list[str]:
    found = await listed(store, lab, include_closed=include_closed)
    return [each.report.report_number for each in found]


async def passed_on(store: Laboratory, kind: ChangeKind = ChangeKind.MISSING_REPORTS) -> list[list[str]]:
    """Return the report numbers of each entry for missing reports in the log."""
    entries = await store.database.read(read_entries, {})
    return [[number for number, _ in entry.reports] for entry in entries if entry.kind is kind]


async def notification_rows(store: Laboratory) -> list[tuple[str, int, int]]:
    """Return node, number and kind of every notification."""

    def work(connection: Connection) -> list[tuple[str, int, int]]:
        table = notifications
        query = select(table.c.node, table.c.number, table.c.kind).order_by(table.c.node, table.c.number)
        return [(row.node, row.number, row.kind) for row in connection.execute(query)]

    return await store.database.read(work)


async def test_a_missing_report_of_a_laboratory_of_this_node_is_listed_here_and_above(store: Laboratory) -> None:
    """A node above that did not know such reports gets those that are still open."""
    await register(store)
    await show(store, claim("R1"))
    assert await listed(store) == [ListedReport(MissingReport(USCC, "R1", NOW, JILIN), None)]
    assert await passed_on(store) == []
    assert await passed_on(store, ChangeKind.LISTED_MISSING_REPORTS) == [["R1"]]
    await show(store, claim("R2"))
    await store.send([make_tube(1)])
    await store.database.write(note_withheld, NATION, [ChangeKind.LISTED_MISSING_REPORTS])
    for _ in range(2):
        await store.database.write(append_withheld, NATION, (), NOW)
    assert await passed_on(store, ChangeKind.LISTED_MISSING_REPORTS) == [["R1"], ["R2"], ["R2"]]


async def test_one_to_another_nodes_laboratory_is_passed_on_once_and_not_listed(store: Laboratory) -> None:
    await show(store, claim("R1"), claim("R2"), claim("R1", OTHER_USCC))
    await show(store, claim("R1"), claim("R3"))
    assert await listed(store) == []
    assert await passed_on(store) == [["R1", "R2"], ["R1"], ["R3"]]


async def test_a_node_without_a_nation_lists_them_all(store: Laboratory) -> None:
    await show(store, claim("R1"), has_upstream=False)
    assert await numbers(store) == ["R1"]
    assert await passed_on(store) == []


async def test_what_has_a_record_is_not_missing(store: Laboratory) -> None:
    await store.send([make_tube(1)])
    await show(store, claim("R1"), claim("R2"))
    await receive(store, MissingReport(USCC, "R1", NOW, HENAN), node=JILIN, sender=NATION)
    assert await passed_on(store) == [["R2"]]
    assert await listed(store, include_closed=True) == []


@pytest.mark.parametrize("tube", [make_tube(1), make_tube(1, outcome=PENDING)])
async def test_it_is_closed_when_the_report_comes_in(store: Laboratory, tube: object) -> None:
    """The missing report stays closed when later revisions arrive."""
    await register(store)
    await show(store, claim("R1"), claim("R2"))
    await store.send([tube], now=NOW + HOUR)  # type: ignore[list-item]
    assert await numbers(store) == ["R2"]
    await store.send([make_tube(1)], upload_id="v", now=NOW + 2 * HOUR)
    closed = {each.report.report_number: each.close_time for each in await listed(store, include_closed=True)}
    assert closed == {"R1": NOW + HOUR, "R2": None}


async def test_the_nation_tells_the_laboratorys_node_and_not_the_one_that_raised_it(store: Laboratory) -> None:
    await settle(store, JILIN)
    await settle(store, HENAN)
    await show(store, claim("R1"), node=NATION, has_upstream=False)
    assert await notification_rows(store) == [
        (JILIN, 1, ChangeKind.MISSING_REPORTS),
        (HENAN, 1, ChangeKind.MISSING_REPORTS),
    ]
    assert await listed(store) == []


async def test_one_of_an_unregistered_laboratory_is_listed_at_the_nation(store: Laboratory) -> None:
    report = MissingReport(USCC, "R1", NOW, HENAN)
    assert await receive(store, report, report, node=NATION, sender=HENAN) == []
    assert await listed(store) == [ListedReport(report, None)]


async def test_what_was_shown_at_home_is_listed_above_and_passed_to_nobody(store: Laboratory) -> None:
    """Reports that their home lists leave room for reports that must be passed on."""
    store = store.with_limits(missing_reports=10, missing_reports_at_home=1)
    await register(store)
    await settle(store, HENAN)
    reports = [MissingReport(USCC, number, NOW, HENAN) for number in ("R1", "R2")]
    assert await route(store, *reports, node=NATION, sender=HENAN) == RoutedReports([], reports[:1])
    assert await listed(store) == [ListedReport(reports[0], None)]
    assert await receive(store, *reports, node=NATION, sender=JILIN) == [reports[1]._replace(raising_node=JILIN)]
    assert await numbers(store) == ["R1", "R2"]


async def test_a_node_that_names_another_as_the_raising_node_is_not_believed(store: Laboratory) -> None:
    await receive(store, MissingReport(USCC, "R1", NOW, JILIN), node=NATION, sender=HENAN)
    assert [each.report.raising_node for each in await listed(store)] == [HENAN]


async def test_a_report_that_was_shown_in_a_city_names_the_city_at_the_nation(store: Laboratory) -> None:
    await receive(store, MissingReport(USCC, "R1", NOW, "410100"), node=NATION, sender=HENAN)
    assert [each.report.raising_node for each in await listed(store)] == ["410100"]


async def test_a_laboratory_that_is_registered_later_finds_its_missing_reports(store: Laboratory) -> None:
    """The report was missed before the laboratory was registered, and is listed as soon as the laboratory is."""
    await show(store, claim("R1"))
    assert await listed(store) == []
    lab = make_lab()
    await store.stores.labs.create_lab(
        lab, IdempotentRequest(CreateLabRequest(), CreateLabResponse, lambda _: CreateLabResponse(), NOW)
    )
    assert await numbers(store) == ["R1"]


async def test_the_nation_passes_on_what_it_listed_once_a_node_tells_of_the_laboratory(store: Laboratory) -> None:
    await receive(store, MissingReport(USCC, "R1", NOW, HENAN), node=NATION, sender=HENAN)
    assert await numbers(store) == ["R1"]
    await settle(store, JILIN)
    for _ in range(2):
        await apply(store, make_lab(), sender=JILIN)
    assert await numbers(store) == ["R1"]
    assert await notification_rows(store) == [(JILIN, 1, ChangeKind.MISSING_REPORTS)]


async def test_a_node_that_registers_a_laboratory_gets_what_was_raised_before(store: Laboratory) -> None:
    """The node that sends the laboratory is its home: no other node could ask it to upload the report."""
    await receive(store, MissingReport(USCC, "R1", NOW, HENAN), node=NATION, sender=HENAN)
    await settle(store, JILIN)
    await apply(store, make_lab(), sender=JILIN)
    assert await numbers(store) == ["R1"]
    assert await notification_rows(store) == [(JILIN, 1, ChangeKind.MISSING_REPORTS)]


async def test_a_node_that_begins_again_gets_its_missing_reports_again(store: Laboratory) -> None:
    """The node's older notifications are not kept. It gets the closed missing reports too, as closed."""
    for node in (JILIN, HENAN):
        await settle(store, node)
    await receive(store, MissingReport(USCC, "R1", NOW, NATION), node=NATION, sender=NATION)
    later = update(nodes).values(newest_notification=7)
    await store.database.write(lambda connection: connection.execute(delete(notifications)) and None)
    await store.database.write(lambda connection: connection.execute(later) and None)
    await store.send([make_tube(1)])
    await store.database.write(repeat_missed, HENAN, NOW)
    # The first one says that the record has come.
    _, notification = await store.database.read(read_notifications, HENAN, 7)
    (report,) = notification.changes
    assert isinstance(report, MissingReport)
    assert (report.report_number, report.close_time) == ("R1", NOW)


async def test_reports_out_of_time_are_not_chased(store: Laboratory) -> None:
    """The reports are older than retention keeps, or dated the day after tomorrow."""
    await register(store)
    deletion = insert(deletions).values(deletion_id="d", horizon=NOW - DAY, result_count=0, digest="", delete_time=NOW)
    await store.database.write(lambda connection: connection.execute(deletion) and None)
    times = {"R1": NOW - DAY - 1, "R2": NOW - DAY, "R3": NOW + DAY, "R4": None}
    await show(store, *(claim(number, reported=time) for number, time in times.items()))
    assert sorted(await numbers(store)) == ["R2", "R4"]


@pytest.mark.parametrize(
    "number", ["", "-", "无", "0", "000000", "no number", "R/1", "R@1", "a\0b1", "R1\n", "x" * 64, "R" + "1" * 64]
)
def test_what_is_no_report_number_is_not_chased(number: str) -> None:
    assert not can_be_missing(USCC, number)


def test_an_identity_cards_number_is_never_kept() -> None:
    assert not can_be_missing(USCC, resident_number(7))
    assert not can_be_missing(USCC, f"R-{resident_number(7)}")


@given(st.text(max_size=80))
def test_whatever_is_chased_could_be_uploaded(number: str) -> None:
    if can_be_missing(USCC, number):
        assert 0 < len(number) <= 64
        assert not set(number) & set(" /@\0\n\x7f")


async def test_a_laboratory_has_so_many_open_ones_and_no_more(store: Laboratory) -> None:
    """An uploaded report frees capacity again. The other laboratory is not affected."""
    store = store.with_limits(missing_reports_per_lab=10)
    await register(store)
    await register(store, OTHER_USCC)
    assert await show(store, *(claim(f"R{number}") for number in range(8))) == 0
    assert await show(store, *(claim(f"R{number}") for number in range(8, 14)), claim("R0", OTHER_USCC)) == 4
    assert len(await numbers(store, USCC)) == 10
    assert await numbers(store, OTHER_USCC) == ["R0"]
    await store.send([make_tube(0), make_tube(1)])
    assert await show(store, claim("R20"), claim("R21"), claim("R22")) == 1
    assert len(await numbers(store, USCC)) == 10


async def test_made_up_laboratories_leave_the_registered_ones_their_half(store: Laboratory) -> None:
    store = store.with_limits(missing_reports=10, unregistered_missing_reports=5)
    await register(store)
    flood = [claim(f"R{number}", OTHER_USCC) for number in range(50)]
    assert await show(store, *flood) == 45
    assert await show(store, *(claim(f"R{number}") for number in range(7))) == 2
    assert len(await numbers(store)) == 5


async def test_they_are_listed_newest_first_page_after_page(store: Laboratory) -> None:
    await register(store)
    await register(store, OTHER_USCC)
    for second in range(5):
        claims = [
            claim(f"R{number}", lab, at=NOW + second * SECOND)
            for number in (2 * second, 2 * second + 1)
            for lab in (USCC, OTHER_USCC)
        ]
        await show(store, *claims, now=NOW + second * SECOND)
    whole = [each.report for each in await listed(store)]
    assert whole == sorted(whole, key=lambda each: (-each.create_time, each.lab, each.report_number))
    assert len(whole) == 20
    paged: list[MissingReport] = []
    after = None
    while page := await store.database.read(list_missing_reports, "", after, 3, include_closed=True):
        paged += [each.report for each in page]
        last = paged[-1]
        after = (last.create_time, last.lab, last.report_number)
    assert paged == whole
    assert len(await numbers(store, OTHER_USCC)) == 10


async def test_old_ones_and_those_with_a_report_about_to_be_removed_are_deleted(store: Laboratory) -> None:
    """R3 is old. The report of R1 has arrived, and retention is about to remove its key.

    A missing report is closed by the key of its report. If R1 outlived the key, R1 would be open again.
    """
    await register(store)
    await show(store, claim("R1"), claim("R2"))
    await show(store, claim("R3", at=NOW - KEPT - 1))
    await store.database.write(remove_old, NOW - KEPT)
    assert sorted(await numbers(store)) == ["R1", "R2"]
    await store.send([make_tube(1)])
    await store.database.write(remove_with_keys, REPORTED + 1)
    assert await numbers(store, include_closed=True) == ["R2"]


async def test_claims_beyond_what_waits_are_dropped_and_counted(store: Laboratory) -> None:
    """Holders of dropped claims will show their reports again."""

    def dropped() -> float:
        return REGISTRY.get_sample_value("hutong_missing_reports_dropped_total", {"why": "queue full"}) or 0.0

    router = TopRouter(ChangeLog(), ResultsLimits())
    queue = MissingReportQueue(store.database, router, JILIN, store.clock, ResultsTiming(), capacity=100)
    await register(store)
    before = dropped()
    for number in range(1000):
        queue.remember(USCC, f"F{number}", REPORTED, NOW)
    assert dropped() - before == 900
    writing = Background([queue.run])
    writing.start()
    await until(lambda: _has(store, 100))
    await writing.stop()


class FailingRouter(TopRouter):
    """A router that fails on a batch with a certain report."""

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        if any(report.report_number == "F499" for report in reports):
            raise RuntimeError("a fault of the program")
        return super().raise_reports(connection, reports, now)


async def test_a_failure_drops_its_own_batch_and_no_other_claim(store: Laboratory) -> None:
    """The claims behind it are stored, and those of the batch may be shown again."""

    def dropped() -> float:
        return REGISTRY.get_sample_value("hutong_missing_reports_dropped_total", {"why": "failure"}) or 0.0

    router = FailingRouter(ChangeLog(), ResultsLimits())
    queue = MissingReportQueue(store.database, router, JILIN, store.clock, QUICK)
    await register(store)
    before = dropped()
    for number in range(BATCH + 7):
        queue.remember(USCC, f"F{number}", REPORTED, NOW)
    writing = Background([queue.run])
    writing.start()
    await until(lambda: _has(store, 7))
    assert dropped() - before == BATCH
    queue.remember(USCC, "F1", REPORTED, NOW)
    await until(lambda: _has(store, 8))
    await writing.stop()


async def _has(store: Laboratory, count: int) -> bool:
    return len(await listed(store)) == count


async def test_a_laboratory_that_the_node_above_sends_leaves_its_missing_reports_listed(store: Laboratory) -> None:
    """The copy of the laboratory only serves copies of results.

    Once a node below registers it, that node lists the reports too.
    """
    await register(store)
    await show(store, claim("R1"), node=HENAN)
    change_log = ChangeLog()
    applier = ChangeApplier(change_log, MiddleRouter(change_log, store.stores.limits))
    await store.database.write(applier.apply, [make_lab()], Arrival(HENAN, NATION, NOW))
    assert await numbers(store) == ["R1"]
    await store.database.write(lambda connection: connection.execute(labs.delete()) and None)
    assert await numbers(store) == ["R1"]
    await store.database.write(applier.apply, [make_lab()], Arrival(HENAN, "410100", NOW))
    assert await numbers(store) == ["R1"]
    assert await store.database.read(list_passed_on, [USCC]) == {USCC: ["R1"]}
