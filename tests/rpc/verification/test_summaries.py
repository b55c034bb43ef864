"""Summaries of refusals through real services: groupings, rates per decision, silence, and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.type.interval_pb2 import Interval
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2, summary_period_pb2
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1 import refusal_service_pb2 as service

from services.domain.instant import DAY, HOUR, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.errors import error_info, field_violations
from tests.support.lists import read_pages
from tests.support.verification.node import ALL, NUMBERS, Callers, Node, calling, document, question
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOTEL, SCHOOL = purpose_pb2.PURPOSE_HOTEL, purpose_pb2.PURPOSE_SCHOOL
NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
LODGING, MEDICAL = refusal_pb2.VENUE_KIND_LODGING, refusal_pb2.VENUE_KIND_MEDICAL
WHOLE = service.REFUSAL_GROUPING_WHOLE
PROVINCE = service.REFUSAL_GROUPING_PROVINCE
CITY = service.REFUSAL_GROUPING_CITY
DISTRICT = service.REFUSAL_GROUPING_DISTRICT
VENUE_KIND = service.REFUSAL_GROUPING_VENUE_KIND
ORIGIN_NODE = service.REFUSAL_GROUPING_ORIGIN_NODE
PURPOSE = service.REFUSAL_GROUPING_PURPOSE


async def _report(callers: Callers, region: str, ground: int, kind: int, number: str) -> refusal_pb2.Refusal:
    request = service.ReportRefusalRequest(
        region=region,
        venue_kind=kind,  # type: ignore[arg-type]
        purpose=HOTEL,
        refuse_time=to_timestamp(SystemClock().now()),
        grounds=[ground],  # type: ignore[list-item]
        document=document(number),
    )
    return (await callers.refusals.ReportRefusal(request)).refusal


async def _summarize(callers: Callers, *groupings: int, **fields: Any) -> service.SummarizeRefusalsResponse:
    response = service.SummarizeRefusalsResponse()
    for page in await read_pages(callers.refusals.SummarizeRefusals, _request(*groupings, **fields)):
        response.MergeFrom(page)
    return response


def _request(*groupings: int, **fields: Any) -> service.SummarizeRefusalsRequest:
    # Both ends are days away from now, so that every call asks for the same days.
    now = SystemClock().now()
    interval = Interval(start_time=to_timestamp(now - 3 * DAY), end_time=to_timestamp(now + DAY))
    return service.SummarizeRefusalsRequest(
        groupings=groupings,  # type: ignore[arg-type]
        **({"interval": interval} | fields),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callers]:
    """A nation with reports and decisions of two provinces. Jilin has answered nothing; 410302 has no report."""
    node = Node(tmp_path_factory.mktemp("summaries"))
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await callers.publish("410000", 48 * HOUR)
            answered = await _report(callers, "410105", NOT_LOCAL, LODGING, NUMBERS[0])
            await callers.refusals.AnswerRefusal(service.AnswerRefusalRequest(name=answered.name, answer="已整改"))
            await _report(callers, "410106", EXPIRED, MEDICAL, NUMBERS[0])
            await _report(callers, "220502", EXPIRED, LODGING, NUMBERS[1])
            asked = [question(NUMBERS[0], region="410105")] * 3 + [
                question(NUMBERS[1], region="410302", purpose=SCHOOL)
            ]
            for one in asked:
                await callers.decisions.Verify(one)

            async def is_counted() -> bool:
                rows = (await _summarize(callers, WHOLE)).refusal_summaries
                return sum(row.decisions.decision_count for row in rows) == len(asked)

            await until(is_counted)
            yield callers
    finally:
        await node.close()


def _places(response: service.SummarizeRefusalsResponse) -> list[tuple[str, int, int]]:
    return [(row.region, row.total.refusal_count, row.decisions.decision_count) for row in response.refusal_summaries]


async def test_places_at_each_level_with_their_decisions(callers: Callers) -> None:
    """The whole, provinces, cities and districts, with or without a report."""
    assert _places(await _summarize(callers, WHOLE)) == [("000000", 3, 4)]
    assert _places(await _summarize(callers, PROVINCE)) == [("220000", 1, 0), ("410000", 2, 4)]
    assert _places(await _summarize(callers, CITY)) == [("220500", 1, 0), ("410100", 2, 3), ("410300", 0, 1)]
    districts = [("220502", 1, 0), ("410105", 1, 3), ("410106", 1, 0), ("410302", 0, 1)]
    assert _places(await _summarize(callers)) == districts == _places(await _summarize(callers, DISTRICT))
    assert _places(await _summarize(callers, WHOLE, PROVINCE, region="410100")) == [("410100", 2, 3)] * 2


async def test_kinds_of_venue_and_purposes(callers: Callers) -> None:
    """A question names a purpose and no kind of venue, so that only rows by purpose have decisions."""
    kinds = (await _summarize(callers, VENUE_KIND)).refusal_summaries
    assert [(row.venue_kind, row.total.refusal_count) for row in kinds] == [(LODGING, 2), (MEDICAL, 1)]
    assert not any(row.HasField("decisions") or row.rates.HasField("refusals_per_decision") for row in kinds)
    purposes = (await _summarize(callers, PURPOSE)).refusal_summaries
    told = [(row.purpose, row.total.refusal_count, row.decisions.decision_count) for row in purposes]
    assert told == [(HOTEL, 3, 3), (SCHOOL, 0, 1)]


async def test_nodes_where_reports_were_made(callers: Callers) -> None:
    """The node where a report was made says nothing about decisions."""
    (row,) = (await _summarize(callers, ORIGIN_NODE)).refusal_summaries
    assert (row.region, row.origin_node, row.total.refusal_count) == ("000000", "nodes/000000", 3)
    assert not row.HasField("decisions")
    assert not row.rates.HasField("refusals_per_decision")


async def test_rates_with_their_denominators(callers: Callers) -> None:
    """Shares of the reports, refusals per decision; no rate without a denominator."""
    (row,) = (await _summarize(callers, PROVINCE, region="410000")).refusal_summaries
    assert (row.total.assessed_count, row.total.unlawful_count, row.total.answered_count) == (2, 1, 1)
    rates = row.rates
    shares = (rates.unlawful_share, rates.answered_share, rates.overdue_share, rates.refusals_per_decision)
    assert shares == (0.5, 0.5, 0.0, 0.5)
    assert (row.decisions.refusal_count, row.decisions.by_outcome.not_recognized_count) == (2, 4)
    (jilin,) = (await _summarize(callers, PROVINCE, region="220000")).refusal_summaries
    assert not jilin.rates.HasField("refusals_per_decision")
    (no_report,) = (await _summarize(callers, region="410302")).refusal_summaries
    assert not no_report.rates.HasField("unlawful_share")
    assert no_report.rates.refusals_per_decision == 0


async def test_who_has_not_answered_and_since_when(callers: Callers) -> None:
    """The answer has only places without an answer, with the time of the oldest open report."""
    silent = await _summarize(callers, PROVINCE, CITY, unanswered_only=True)
    assert _places(silent) == [("220000", 1, 0), ("220500", 1, 0), ("410300", 0, 1)]
    total = silent.refusal_summaries[0].total
    assert total.HasField("oldest_open_time")
    assert not total.HasField("last_answer_time")
    (row,) = (await _summarize(callers, region="410105")).refusal_summaries
    assert row.total.HasField("last_answer_time")
    assert not row.total.HasField("oldest_open_time")


async def test_decisions_before_an_interval_are_left_out(callers: Callers) -> None:
    """An interval that ends before the first counted hour has no decisions, and says since when they are counted."""
    response = await _summarize(callers, WHOLE)
    first = response.decision_start_time
    now = SystemClock().now()
    assert first.seconds % 3600 == 0
    assert now - 2 * HOUR < first.seconds * 1_000_000 <= now
    earlier = Interval(start_time=to_timestamp(now - 3 * DAY), end_time=first)
    assert _places(await _summarize(callers, WHOLE, interval=earlier)) == []


async def test_pages_of_several_groupings_meet(callers: Callers) -> None:
    """Pages of one row are the whole, also by day. A token is bound to its request."""
    groupings = (ORIGIN_NODE, PURPOSE, DISTRICT, WHOLE, VENUE_KIND)
    request = _request(*groupings, period=summary_period_pb2.SUMMARY_PERIOD_DAY, page_size=500)
    whole = (await callers.refusals.SummarizeRefusals(request)).refusal_summaries
    assert [row.grouping for row in whole] == sorted(row.grouping for row in whole)
    request.page_size = 1
    pages = await read_pages(callers.refusals.SummarizeRefusals, request)
    assert [row for page in pages for row in page.refusal_summaries] == list(whole)
    assert all(len(page.refusal_summaries) == 1 for page in pages)
    request.page_token = pages[0].next_page_token
    request.unanswered_only = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.SummarizeRefusals(request)
    assert error_info(caught.value).reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("groupings", [(0,), (99,), (WHOLE, WHOLE)])
async def test_faulty_groupings(callers: Callers, groupings: tuple[int, ...]) -> None:
    """An unspecified, an unknown and a repeated grouping are faults of the field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.SummarizeRefusals(_request(*groupings))
    assert [name.partition("[")[0] for name in field_violations(caught.value)] == ["groupings"]
