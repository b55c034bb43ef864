"""The parts of pages: no text is unescaped, and there is no script and nothing from other sites."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from hutong_client.cli.pages.charts import Bar, Lane, Range, Segment, Tick, bars, columns, hour_ticks, lanes, ranges
from hutong_client.cli.pages.frame import Column, Figure, figures, page, section, table
from hutong_client.cli.pages.html import Html, join, tag
from hutong_client.cli.provinces import region_words

EVIL = "<img src=x onerror=alert(1)>\"'&"


def test_text_is_escaped_once_wherever_it_enters() -> None:
    """Every builder escapes its text, in content and in attributes. Text that is HTML already is unchanged."""
    assert tag("p", EVIL, tag("b", "x"), title=EVIL).count("&lt;img") == 2
    assert join(["<", Html("<br>")]) == "&lt;<br>"
    parts = [
        figures([Figure(EVIL, EVIL)]),
        section(EVIL, bars([Bar(EVIL, 1, EVIL, detail=EVIL)]), note=EVIL),
        columns([Bar(EVIL, 1, EVIL)]),
        ranges([Range(EVIL, 1, 2, 3, EVIL, detail=EVIL)], hour_ticks(3)),
        lanes([Lane(EVIL, [Segment(0, 1, EVIL, title=EVIL)])], [Tick(0, EVIL)], 0, 1),
        table([Column(EVIL)], [(EVIL,)]),
    ]
    text = page(EVIL, parts, subtitle=EVIL, footer=EVIL)
    assert "<img" not in text
    assert "&amp;lt;" not in text


def test_a_page_is_alone() -> None:
    """No script and no address of anything else."""
    text = page("t", [section("s")])
    assert not re.search(r"<script|<link|https?:|url\(|@import| src=", text)
    assert "default-src &#x27;none&#x27;" in text


@pytest.mark.parametrize(("longest", "last"), [(0.0, "1 day"), (30.0, "1 week"), (5_000.0, "30 d")])
def test_the_scale_of_delays_reaches_as_far_as_it_must(longest: float, last: str) -> None:
    """The scale covers at least a day, so that a prompt laboratory looks prompt."""
    assert hour_ticks(longest)[-1].text == last


def test_values_beyond_the_scale_stay_on_it() -> None:
    """A delay of no time at all, or of a year, is drawn at the scale's end."""
    drawn = ranges([Range("x", 0, 1, 9_000, "")], hour_ticks(9_000))
    places = [float(place) for place in re.findall(r'cx="([\d.]+)%"', drawn)]
    assert places[0] == 0
    assert places[-1] == 100


def test_charts_of_nothing_are_drawn() -> None:
    """No division by the greatest of no values."""
    assert bars([])
    assert bars([Bar("x", 0, "0")])
    assert columns([])


@pytest.mark.parametrize(
    ("draw", "length"),
    [(bars, r'width="([\d.]+)%" height="16" rx="2" class="bad"'), (columns, r'height="([\d.]+)" class="bad"')],
)
def test_a_bar_of_which_no_part_is_bad_is_pale(draw: Callable[[Sequence[Bar]], Html], length: str) -> None:
    """A day without anything unlawful is not painted as if all of it were."""
    text = draw([Bar("08-10", 5, "5", part=0, tone="bad")])
    assert [float(found) for found in re.findall(length, text)] == [0]
    assert 'class="pale"' in text


@pytest.mark.parametrize(
    ("region", "words"),
    [("410105", "410105 (河南 Henan)"), ("410000", "河南 Henan"), ("000000", "全国 Nation"), ("990000", "990000")],
)
def test_regions_are_named_with_their_province(region: str, words: str) -> None:
    assert region_words(region) == words
