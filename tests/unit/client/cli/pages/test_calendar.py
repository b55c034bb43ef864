"""The calendar's table and page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hutong.policy.v1.policy_pb2 import Policy
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL
from hutong_client.cli.pages.calendar import Shown, calendar_page, table_rows

from services.policy.model import NOT_REQUIRED, AcceptedItem, Requirement, ShortestWindow, Window
from tests.support.client.fake_policy import REVISED, VENUE, instant, read_year
from tests.support.policy.factories import HOUR, make_revision


def test_rows_say_what_is_asked_for_by_which_rule_and_floor() -> None:
    """If the floor sets another basis than the rule, the row says so."""
    floor = make_revision("000000", "notice", floor=True, start=instant("2022-07-29"))
    sampled = make_revision(purposes=(PURPOSE_HOTEL,), requirement=Requirement(Window(2, 72 * HOUR)))
    calendar, _ = read_year(floor, sampled)
    rows = [row for lane in calendar.lanes if PURPOSE_HOTEL in lane.purposes for row in table_rows(lane)]
    assert [row[4:] for row in rows] == [
        ("a negative of 72 h from sample time", "410100/policies/venue@1", ""),
        (
            "a negative of 72 h from report time, basis set by the floor",
            "410100/policies/venue@1",
            "000000/policies/notice@1",
        ),
    ]
    assert rows[0][:4] == ("hotel", "anywhere", "2022-01-01", "2022-07-29")


def test_floors_that_lift_or_lengthen_are_shown() -> None:
    """A lift has a bar and a row also where no policy is in force; a shortest window stands beside the window."""
    lift = make_revision("000000", "lift", floor=True, requirement=NOT_REQUIRED, start=instant("2022-12-07"))
    shortest = Requirement(shortest=ShortestWindow(48 * HOUR, includes_boundary=True))
    least = make_revision("000000", "least", floor=True, requirement=shortest, start=instant("2022-07-29"))
    policy = make_revision(
        purposes=(PURPOSE_HOTEL,), requirement=Requirement(Window(1, 24 * HOUR)), end=instant("2022-12-07")
    )
    calendar, _ = read_year(lift, least, policy)
    rows = [row for lane in calendar.lanes if PURPOSE_HOTEL in lane.purposes for row in table_rows(lane)]
    assert [row[4:6] for row in rows] == [
        ("a negative of 24 h from report time", "410100/policies/venue@1"),
        (
            "a negative of 24 h from report time, at least 48 h, the last instant included",
            "410100/policies/venue@1",
        ),
        ("no result, lifted by 000000/policies/lift@1", ""),
    ]
    page = calendar_page(Shown(calendar, "2022", {}))
    assert "no policy, lifted by jurisdictions/000000/policies/lift@1 (no result)" in page


def test_accepted_items_are_shown_with_their_windows() -> None:
    """The windows are shown in the row, and each length on the bar."""
    accepted = (AcceptedItem(""), AcceptedItem("sars-cov-2-antigen", Window(1, 24 * HOUR)))
    either = Requirement(Window(1, 48 * HOUR), accepted=accepted)
    calendar, _ = read_year(make_revision(purposes=(PURPOSE_HOTEL,), requirement=either))
    (asked,) = [row[4] for lane in calendar.lanes if PURPOSE_HOTEL in lane.purposes for row in table_rows(lane)]
    words = (
        "a negative of 48 h from report time (sars-cov-2-nucleic-acid) or of 24 h from report time (sars-cov-2-antigen)"
    )
    assert asked == words
    page = calendar_page(Shown(calendar, "2022", {}))
    assert words in page
    assert ">48 h or 24 h<" in page


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
    calendar, _ = read_year(VENUE, REVISED)
    title = "<script>alert('x')</script> & more"
    rule = Policy(name="jurisdictions/410100/policies/venue@1", title=title)
    return calendar_page(Shown(calendar, "2022", {rule.name: rule}))


def test_page_needs_no_other_file_and_is_escaped(page: str) -> None:
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
    for told in ("48 h", "24 h", ">Jan<", ">Dec<", "No policy at any time: hotel, school.", "2023-11-15"):
        assert told in page


def test_year_without_rules_is_a_page_too() -> None:
    """Everything is named as without a rule."""
    calendar, _ = read_year()
    assert "No policy at any time: public venue, city transport, hotel, school." in calendar_page(
        Shown(calendar, "2022", {})
    )
