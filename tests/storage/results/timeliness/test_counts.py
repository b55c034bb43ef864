"""Counts of delays: the last upload of a count, and how much of the counts a page of a summary reads."""

from __future__ import annotations

from hutong.results.v1.timeliness_pb2 import TIMELINESS_GROUPING_CITY, TIMELINESS_GROUPING_WHOLE
from hutong.type.v1.summary_period_pb2 import SUMMARY_PERIOD_UNSPECIFIED
from sqlalchemy import Connection

from services.domain.instant import DAY, HOUR, MINUTE
from services.results.timeliness.delays import record_delays
from services.results.timeliness.model import Position, Question
from services.results.timeliness.tables import delays
from services.results.timeliness.totals import include_step
from tests.support.results.factories import NOW, USCC
from tests.support.results.store import Laboratory, add_lab
from tests.support.work import counting_work

CITIES = 20
HOURS = 200
QUESTION = Question(NOW - 30 * DAY, NOW + HOUR, HOUR, SUMMARY_PERIOD_UNSPECIFIED, NOW - DAY, NOW)


async def test_an_older_upload_does_not_replace_the_time_of_the_last_one(laboratory: Laboratory) -> None:
    """Another node may send an older upload after a newer one of the same hour and the same class of delay."""

    def work(connection: Connection) -> None:
        add_lab(connection, USCC, "220100")
        for uploaded in (NOW, NOW - MINUTE):
            record_delays(connection, USCC, [uploaded - 10 * MINUTE], uploaded)

    await laboratory.database.write(work)
    page = await laboratory.stores.timeliness.summarize_region("000000", [TIMELINESS_GROUPING_WHOLE], QUESTION, None, 1)
    assert (page.rows[0].timeliness.result_count, page.rows[0].timeliness.last_upload_time) == (2, NOW)


async def test_a_later_page_reads_the_counts_of_its_own_rows_only(sqlite: Laboratory) -> None:
    """The row of the whole region needs all counts. The page after this row reads the counts of one city of twenty."""

    def work(connection: Connection) -> None:
        for province in range(11, 11 + CITIES):
            code = f"{province}00{USCC[4:]}"
            add_lab(connection, code, f"{province}0100")
            record_delays(connection, code, [NOW - hour * HOUR for hour in range(HOURS)], NOW)
        include_step(connection, delays, CITIES * HOURS)

    await sqlite.database.write(work)
    summarize = sqlite.stores.timeliness.summarize_region
    groupings = [TIMELINESS_GROUPING_CITY]
    await summarize("000000", groupings, QUESTION, None, 1)
    with counting_work(sqlite.database) as first:
        (whole,) = (await summarize("000000", groupings, QUESTION, None, 1)).rows
    with counting_work(sqlite.database) as later:
        (city,) = (await summarize("000000", groupings, QUESTION, Position(groupings[0], "200100", 0), 1)).rows
    assert whole.timeliness.result_count == CITIES * HOURS
    assert (city.key, city.timeliness.result_count) == ("210100", HOURS)
    assert later.amount * 4 < first.amount
