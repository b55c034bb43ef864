"""The size of a page of laboratories depends on how many hours its rows stand for."""

from __future__ import annotations

import pytest
from hutong.results.v1.timeliness_pb2 import TIMELINESS_GROUPING_CITY, TIMELINESS_GROUPING_LAB
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest
from hutong.type.v1.summary_period_pb2 import SUMMARY_PERIOD_DAY, SUMMARY_PERIOD_MONTH

from services.domain.instant import DAY
from services.results.timeliness.servicer import LEAST_PAGE, bounded_page_size

CITY, LAB = TIMELINESS_GROUPING_CITY, TIMELINESS_GROUPING_LAB


@pytest.mark.parametrize(
    ("groupings", "period", "days", "expected"),
    [
        ([], 0, 1, 500),
        ([], 0, 30, 51),
        ([CITY, LAB], 0, 365, LEAST_PAGE),
        ([CITY], 0, 365, 500),
        ([LAB], SUMMARY_PERIOD_DAY, 365, 500),
        ([LAB], SUMMARY_PERIOD_MONTH, 365, 50),
        ([LAB], 0, 365 * 8_000, LEAST_PAGE),
    ],
)
def test_rows_of_laboratories_stand_for_a_bounded_number_of_hours(
    groupings: list[int], period: int, days: int, expected: int
) -> None:
    request = SummarizeTimelinessRequest(region="000000", groupings=groupings, period=period, page_size=500)  # type: ignore[arg-type]
    assert bounded_page_size(request, days * DAY) == expected
    request.page_size = 3
    assert bounded_page_size(request, days * DAY) == 3
