"""The calendar of a place: every answer once, from its start to its end; and its page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_pb2 import ORIGIN_ANY, ORIGIN_OTHER_PROVINCE, ORIGIN_SAME_PROVINCE, Policy
from hutong.policy.v1.policy_service_pb2 import (
    BatchResolvePoliciesRequest,
    BatchResolvePoliciesResponse,
    ResolvePolicyItem,
)
from hutong.type.v1.purpose_pb2 import PURPOSE_CITY_TRANSPORT, PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE, PURPOSE_SCHOOL
from hutong_client.cli.pages.calendar import Shown, calendar_page, table_rows
from hutong_client.formatting import SHANGHAI
from hutong_client.policies.calendar import Calendar, read_calendar

from services.domain.instant import from_timestamp
from services.policy.convert import answer_to_proto
from services.policy.model import SAME_PROVINCE, Requirement, Revision
from services.policy.resolve import PolicyBook
from tests.unit.policy.making import HOUR, make_revision


class BookOfRules:
    """Answers batches from a book, by the service's own pure rules."""

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self._book = PolicyBook(revisions)
        self.rounds = 0

    def BatchResolvePolicies(
        self,
        request: BatchResolvePoliciesRequest,
        timeout: float,  # noqa: ARG002 - the stub's
    ) -> BatchResolvePoliciesResponse:
        self.rounds += 1
        answers = [
            answer_to_proto(self._book.resolve(it.region, it.purpose, it.arriving_from, from_timestamp(it.at_time)))
            for it in request.requests
        ]
        for answer in answers:
            answer.as_of_time.seconds = 1_700_000_000
        return BatchResolvePoliciesResponse(items=[ResolvePolicyItem(effective_policy=it) for it in answers])


def seconds(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+08:00").timestamp())


def instant(day: str) -> int:
    return seconds(day) * 1_000_000


YEAR = (seconds("2022-01-01"), seconds("2023-01-01"))
VENUE = make_revision(purposes=(PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT), start=instant("2022-06-01"))
REVISED = make_revision(
    revision=2,
    purposes=(PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT),
    requirement=Requirement(basis=1, duration=24 * HOUR),
    start=instant("2022-10-12"),
    end=instant("2022-12-07"),
)
LOCAL = make_revision(policy_id="hotel", purposes=(PURPOSE_HOTEL,), origin=SAME_PROVINCE, start=instant("2021-05-01"))
ASKED = (PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT, PURPOSE_HOTEL, PURPOSE_SCHOOL)


def read(*revisions: Revision) -> tuple[Calendar, BookOfRules]:
    rules = BookOfRules(revisions)
    connection: Any = SimpleNamespace(policies=rules)
    return read_calendar(connection, "410105", ASKED, *YEAR), rules


def test_every_answer_stands_once_from_its_start_to_its_end() -> None:
    """Without gap or overlap, inside the year; purposes and origins that are answered alike share a lane."""
    calendar, rules = read(VENUE, REVISED, LOCAL)
    assert [(lane.purposes, lane.origin) for lane in calendar.lanes] == [
        ((PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT), ORIGIN_ANY),
        ((PURPOSE_HOTEL,), ORIGIN_SAME_PROVINCE),
        ((PURPOSE_HOTEL,), ORIGIN_OTHER_PROVINCE),
        ((PURPOSE_SCHOOL,), ORIGIN_ANY),
    ]
    venue, local, *_ = calendar.lanes
    days = [seconds(day) for day in ("2022-01-01", "2022-06-01", "2022-10-12", "2022-12-07", "2023-01-01")]
    assert [(it.start, it.end) for it in venue.stretches] == list(pairwise(days))
    assert [it.effective.governing[-2:] for it in venue.stretches] == ["", "@1", "@2", ""]
    assert [(it.start, it.end) for it in local.stretches] == [YEAR]
    assert rules.rounds == len(venue.stretches)


def test_answer_that_ends_within_a_second_does_not_stop_the_clock() -> None:
    """It is told to the next whole second."""
    start = instant("2022-06-01")
    calendar, _ = read(make_revision(start=start, end=start + 1_500_000))
    assert [it.end - it.start for it in calendar.lanes[0].stretches][1:2] == [2]


def test_rows_say_what_is_asked_for_by_which_rule_and_floor() -> None:
    """And that the basis is the floor's where the rule has another."""
    floor = make_revision("000000", "notice", floor=True, start=instant("2022-07-29"))
    sampled = make_revision(purposes=(PURPOSE_HOTEL,), requirement=Requirement(basis=2, duration=72 * HOUR))
    calendar, _ = read(floor, sampled)
    rows = [row for lane in calendar.lanes if PURPOSE_HOTEL in lane.purposes for row in table_rows(lane)]
    assert [row[4:] for row in rows] == [
        ("a negative of 72 h from sample time", "410100/policies/venue@1", ""),
        (
            "a negative of 72 h from report time, as the floor says",
            "410100/policies/venue@1",
            "000000/policies/notice@1",
        ),
    ]
    assert rows[0][:4] == ("hotel", "anywhere", "2022-01-01", "2022-07-29")


class Balanced(HTMLParser):
    """Fails on an element that is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page() -> str:
    """A page whose rule has a title that tries to be markup."""
    calendar, _ = read(VENUE, REVISED)
    title = "<script>alert('x')</script> & more"
    rule = Policy(name="jurisdictions/410100/policies/venue@1", title=title)
    return calendar_page(Shown(calendar, "2022", {rule.name: rule}))


def test_page_is_whole_by_itself_and_escaped(page: str) -> None:
    """No script, no reference to anything elsewhere, every element closed."""
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_page_plots_each_window_and_names_what_has_no_rule(page: str) -> None:
    """Bars with their lengths, the months, and the purposes without any rule."""
    for told in ("48 h", "24 h", ">Jan<", ">Dec<", "No rule at any time: hotel, school.", "2023-11-15"):
        assert told in page


def test_year_without_rules_is_a_page_too() -> None:
    """Everything is named as without a rule."""
    calendar, _ = read()
    assert "No rule at any time: public venue, city transport, hotel, school." in calendar_page(
        Shown(calendar, "2022", {})
    )


def test_age_is_that_of_the_oldest_answer() -> None:
    """The page says up to when publications are in it."""
    calendar, _ = read(VENUE)
    assert calendar.as_of_time == Timestamp(seconds=1_700_000_000)
    assert datetime.fromtimestamp(calendar.as_of_time.seconds, SHANGHAI).year == 2023
