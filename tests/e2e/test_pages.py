"""The pages for supervisors in a real browser: nothing hangs over or is fetched, and late laboratories come first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.node_pb2 import Node, SetAside, SetAsideReason
from hutong.results.v1.lookup_pb2 import SourceState
from hutong.results.v1.timeliness_pb2 import (
    TIMELINESS_GROUPING_CITY,
    TIMELINESS_GROUPING_LAB,
    TIMELINESS_GROUPING_PROVINCE,
    DelayQuantiles,
    Timeliness,
)
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1.refusal_service_pb2 import GroundSummary, RefusalCounts, RefusalSummary
from hutong_client.cli.pages import nodes, refusals, timeliness
from hutong_client.cli.pages.charts import Bar, Lane, Segment, Tick, columns, lanes
from hutong_client.cli.pages.frame import Column, Figure, figures, page, section, table

from tests.support.browser import CHROMIUM, Browser, browser

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
START = Timestamp(seconds=1_660_060_800)
END = Timestamp(seconds=1_660_147_200)
HOUR = 3600
EVIL = "<script>document.title='taken'</script>&\"'"
LATE_NAME, PROMPT_NAME = "通化第一检验所", "长春市第二人民医院核酸检测中心（东区）" * 2
"""The second is far longer than its column."""

OVERHANG = """
Array.from(document.querySelectorAll('body *')).filter(it => !it.closest('.table') && !it.closest('.segment'))
  .filter(it => { const box = it.getBoundingClientRect();
                  return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1) })
  .map(it => it.tagName + ' ' + it.textContent.slice(0, 40))
"""
"""Elements that reach over the edge of the screen. A table may: it scrolls by itself."""

COLLISIONS = """
Array.from(document.querySelectorAll('.label, .value, .figure, h1, h2, svg text:not(.inside)')).flatMap(
  (one, at, all) => all.slice(at + 1).filter(other => {
    const a = one.getBoundingClientRect(), b = other.getBoundingClientRect()
    return a.width && b.width && a.left < b.right - 1 && b.left < a.right - 1
      && a.top < b.bottom - 1 && b.top < a.bottom - 1
  }).map(other => one.textContent.slice(0, 30) + ' / ' + other.textContent.slice(0, 30)))
"""
"""Texts that stand on one another."""


def delays(*hours: float) -> DelayQuantiles:
    spans = [Duration(seconds=round(it * HOUR)) for it in hours]
    return DelayQuantiles(p50=spans[0], p95=spans[1], p99=spans[2])


def a_lab(number: int, late: int = 0, results: int = 1_000) -> Timeliness:
    return Timeliness(
        lab=f"labs/91220501MA{number:08d}",
        result_count=results,
        late_count=late,
        report_to_upload=delays(0.2 + number / 40, 1 + late / 40, 2 + late / 10) if results else None,
        upload_to_nationwide=delays(0.01, 0.03, 0.1) if number % 2 and results else None,
        last_upload_time=END if results else None,
    )


def timeliness_html() -> str:
    """A province of forty laboratories: one is late with a third of its results, one a little, one is silent."""
    labs = [a_lab(number, {3: 333, 4: 7}.get(number, 0), 0 if number == 9 else 1_000) for number in range(1, 41)]
    whole = Timeliness(
        region="220000",
        result_count=39_000,
        late_count=340,
        report_to_upload=delays(0.6, 3.1, 5.5),
        upload_to_nationwide=delays(0.01, 0.03, 0.1),
        last_upload_time=END,
    )
    names = {labs[2].lab: LATE_NAME, labs[3].lab: PROMPT_NAME, labs[8].lab: EVIL}
    asked = timeliness.Asked("220000", START, END, Duration(seconds=4 * HOUR), names)
    return timeliness.timeliness_page([whole, *labs], asked)


def test_a_page_of_several_groupings_has_a_table_of_each() -> None:
    """The charts show laboratories. A province and a city stand in tables of their own."""
    labs = [a_lab(number, number) for number in range(1, 4)]
    for lab in labs:
        lab.grouping = TIMELINESS_GROUPING_LAB
    places = [
        Timeliness(region="220000", grouping=TIMELINESS_GROUPING_PROVINCE, result_count=9, late_count=1),
        Timeliness(region="220100", grouping=TIMELINESS_GROUPING_CITY, result_count=9, late_count=1),
    ]
    asked = timeliness.Asked("000000", START, END, Duration(seconds=4 * HOUR), {})
    text = timeliness.timeliness_page([Timeliness(region="000000", result_count=9), *places, *labs], asked)
    assert all(f"<h2>{heading}" in text for heading in ("By province", "By city", "All figures"))
    assert text.count(labs[0].lab) > 1
    assert "3 of 3" in text


def counted(count: int, unlawful: int, open_: int, days: int = 1) -> RefusalCounts:
    answered = Duration(seconds=days * 20 * HOUR) if count > open_ else None
    return RefusalCounts(refusal_count=count, unlawful_count=unlawful, open_count=open_, median_time_to_answer=answered)


def refused(region: str, total: RefusalCounts, grounds: dict[int, RefusalCounts], day: int = 0) -> RefusalSummary:
    return RefusalSummary(
        region=region,
        interval=Interval(start_time=Timestamp(seconds=START.seconds + 86_400 * day)),
        total=total,
        grounds=[
            GroundSummary(ground=refusal_ground_pb2.RefusalGround.ValueType(ground), counts=counts)
            for ground, counts in grounds.items()
        ],
    )


def refusals_html() -> str:
    """Henan refuses most, and mostly unlawfully; Guangxi never answers."""
    whole = [
        refused(
            "410105",
            counted(120, 90, 10, 3),
            {
                refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY: counted(80, 80, 5),
                refusal_ground_pb2.REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE: counted(40, 10, 5),
            },
        ),
        refused("410300", counted(14, 1, 0), {refusal_ground_pb2.REFUSAL_GROUND_EXPIRED: counted(14, 1, 0)}),
        refused(
            "370000",
            counted(25, 5, 1, 2),
            {refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED: counted(25, 5, 1)},
        ),
        refused("450403", counted(3, 3, 3), {refusal_ground_pb2.REFUSAL_GROUND_PAPER_NOT_ACCEPTED: counted(3, 3, 3)}),
    ]
    days = [refused("410105", counted(5 + day * 3 % 17, day * 3 % 7, 1, day + 1), {}, day) for day in range(30)]
    return refusals.refusals_page(whole, days, refusals.Asked("", START, END))


def plain_html() -> str:
    """The pieces that other pages use."""
    ticks = [Tick(month * 60, name) for month, name in enumerate(("Jan", "Mar", "May", "Jul", "Sep", "Nov"))]
    rows = [
        Lane("hotel", [Segment(0, 140, "72 h", "good"), Segment(140, 141, "24 h, far too long for its day", "bad")]),
        Lane("intercity transport", [Segment(100, 400, "48 h", "warn")]),
        Lane("care home", []),
    ]
    return page(
        EVIL,
        [
            figures([Figure("3", "purposes"), Figure("1", "strict", "bad")]),
            section("Windows", lanes(rows, ticks, 0, 365), note=EVIL),
            section("Days", columns([Bar(f"08-{day:02d}", day, f"{day}") for day in range(1, 32)])),
            section("Table", table([Column("a"), Column("b", number=True)], [(EVIL, "1")])),
        ],
        subtitle="河南 Henan",
    )


def nodes_html() -> str:
    """Two provinces follow, one with a backlog; a third is silent, and a city below the first is retired."""
    ok, silent, retired = (
        SourceState.SOURCE_STATE_OK,
        SourceState.SOURCE_STATE_UNAVAILABLE,
        SourceState.SOURCE_STATE_RETIRED,
    )
    lag = Duration(seconds=1)
    aside = SetAside(reason=SetAsideReason.SET_ASIDE_REASON_NOT_ITS_OWN, count=2)
    skew = Duration(seconds=-90)
    shown = [
        Node(name="nodes/220000", state=ok, as_of_time=END, lag=lag, backlog=7, clock_skew=skew, set_aside=[aside]),
        Node(name="nodes/370000", state=silent, as_of_time=START, lag=Duration(seconds=HOUR), silence_start_time=START),
        Node(name="nodes/410000", state=ok, as_of_time=END, lag=lag, clock_skew=lag, conflict_count=3),
        Node(
            name="nodes/410100",
            state=retired,
            path=["nodes/410000"],
            retire_time=START,
            retire_reason=EVIL,
        ),
    ]
    return nodes.nodes_page(shown, END)


def test_the_page_of_nodes_names_who_is_silent_behind_and_retired() -> None:
    """The node that lags most comes first in the chart. A retired node is neither silent nor behind."""
    text = nodes_html()
    silent, lag, backlog, retired, whole = re.split("<h2>", text)[1:]
    assert silent.startswith("Silent nodes")
    assert "nodes/370000" in silent
    assert "nodes/410000" not in silent
    assert lag.index("nodes/370000") < lag.index("nodes/220000")
    assert "nodes/410100" not in lag
    assert "nodes/220000" in backlog
    assert "nodes/410000" not in backlog
    assert "nodes/410100" in retired
    assert EVIL not in text
    assert all(f"nodes/{region}" in whole for region in ("220000", "370000", "410000", "410100"))
    assert '<span class="badge warn">-90.000</span>' in whole
    assert "2 not its own" in whole


PAGES = {"timeliness": timeliness_html, "refusals": refusals_html, "nodes": nodes_html, "plain": plain_html}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all pages."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (390, False)])
def test_a_page_fits_every_screen_and_asks_for_nothing(
    chromium: Browser, tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    """No element over the edge, no text on another, readable colours, no request, no complaint of the browser."""
    file = tmp_path / f"{name}.html"
    file.write_text(PAGES[name](), encoding="utf-8")
    chromium.requests.clear()
    chromium.open(file, width=width, dark=dark)
    assert chromium.evaluate(OVERHANG) == []
    assert chromium.evaluate(COLLISIONS) == []
    paper, ink = chromium.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (brightness(paper) < 64) == dark
    assert abs(brightness(paper) - brightness(ink)) > 180
    assert chromium.requests == [file.as_uri()]
    assert chromium.console == []


def brightness(colour: str) -> float:
    """Return the brightness of a colour such as "rgb(27, 31, 36)", from 0 to 255."""
    red, green, blue = (int(part) for part in colour[4:-1].split(","))
    return 0.3 * red + 0.6 * green + 0.1 * blue


@needs_chromium
def test_the_latest_laboratory_is_seen_first(chromium: Browser, tmp_path: Path) -> None:
    """The laboratory's name and its red bar are visible without scrolling.

    Names of laboratories are shown as plain text.
    """
    file = tmp_path / "page.html"
    file.write_text(timeliness_html(), encoding="utf-8")
    chromium.open(file)
    first = "document.querySelector('.chart .label')"
    assert chromium.evaluate(f"{first}.firstChild.textContent") == LATE_NAME
    assert chromium.evaluate(f"{first}.getBoundingClientRect().bottom") < 800
    widths = chromium.evaluate(
        "Array.from(document.querySelector('.chart').querySelectorAll('.plot rect:not(.track)'))"
        ".map(it => [it.getAttribute('class'), it.getBoundingClientRect().width])"
    )
    assert [tone for tone, _ in widths] == ["bad", "warn"]
    assert widths[0][1] == pytest.approx(widths[1][1] * 333 / 7, rel=0.02)
    assert chromium.evaluate("document.title") == "Timeliness of reports"
    assert EVIL in chromium.evaluate("document.body.textContent")


@needs_chromium
def test_places_with_most_refusals_come_first_and_those_without_answers_are_named(
    chromium: Browser, tmp_path: Path
) -> None:
    """Henan leads by reports; Guangxi stands under those that never answered."""
    file = tmp_path / "page.html"
    file.write_text(refusals_html(), encoding="utf-8")
    chromium.open(file)
    labels = chromium.evaluate(
        "Array.from(document.querySelector('.chart').querySelectorAll('.label')).map(it => it.firstChild.textContent)"
    )
    assert labels == ["河南 Henan", "山东 Shandong", "广西 Guangxi"]
    assert chromium.evaluate("Array.from(document.querySelectorAll('li')).map(it => it.textContent)") == [
        "450403 (广西 Guangxi): 3 open"
    ]


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints(chromium: Browser, tmp_path: Path, name: str) -> None:
    """The page is printed on white, and nothing exceeds the paper's edge, also if the screen is dark."""
    file = tmp_path / f"{name}.html"
    file.write_text(PAGES[name](), encoding="utf-8")
    chromium.open(file, width=720, dark=True, paper=True)
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 720
    assert chromium.pdf().startswith(b"%PDF-")
