"""The calendar of a place: every answer once, from its start to its end."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_pb2 import (
    TRAVELER_ORIGIN_ANY,
    TRAVELER_ORIGIN_OTHER_PROVINCE,
    TRAVELER_ORIGIN_SAME_PROVINCE,
)
from hutong.type.v1.purpose_pb2 import PURPOSE_CITY_TRANSPORT, PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE, PURPOSE_SCHOOL
from hutong_client.formatting import SHANGHAI

from tests.support.client.fake_policy import LOCAL, REVISED, VENUE, YEAR, instant, read_year, seconds
from tests.support.policy.factories import make_revision


def test_every_answer_stands_once_from_its_start_to_its_end() -> None:
    """Without gap or overlap, inside the year; purposes and origins that are answered alike share a lane."""
    calendar, rules = read_year(VENUE, REVISED, LOCAL)
    assert [(lane.purposes, lane.origin) for lane in calendar.lanes] == [
        ((PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT), TRAVELER_ORIGIN_ANY),
        ((PURPOSE_HOTEL,), TRAVELER_ORIGIN_SAME_PROVINCE),
        ((PURPOSE_HOTEL,), TRAVELER_ORIGIN_OTHER_PROVINCE),
        ((PURPOSE_SCHOOL,), TRAVELER_ORIGIN_ANY),
    ]
    venue, local, *_ = calendar.lanes
    days = [seconds(day) for day in ("2022-01-01", "2022-06-01", "2022-10-12", "2022-12-07", "2023-01-01")]
    assert [(it.start, it.end) for it in venue.stretches] == list(pairwise(days))
    assert [it.effective.governing[-2:] for it in venue.stretches] == ["", "@1", "@2", ""]
    assert [(it.start, it.end) for it in local.stretches] == [YEAR]
    assert rules.rounds == len(venue.stretches)


def test_answer_that_ends_within_a_second_does_not_stop_the_clock() -> None:
    """The end of the answer is rounded up to the next whole second."""
    start = instant("2022-06-01")
    calendar, _ = read_year(make_revision(start=start, end=start + 1_500_000))
    assert [it.end - it.start for it in calendar.lanes[0].stretches][1:2] == [2]


def test_age_is_that_of_the_oldest_answer() -> None:
    """The page says up to when publications are in it."""
    calendar, _ = read_year(VENUE)
    assert calendar.as_of_time == Timestamp(seconds=1_700_000_000)
    assert datetime.fromtimestamp(calendar.as_of_time.seconds, SHANGHAI).year == 2023
