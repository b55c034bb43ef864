"""Charts as inline SVG. Positions along an axis are percentages, so that a chart fills the available width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hutong_texts import english, tr

from hutong_client.cli.pages.frame import Tone
from hutong_client.cli.pages.html import Html, tag

Scale = Callable[[float], float]
"""Maps a value to its position along the axis, in percent."""

_COLUMN_HEIGHT = 140
"""Height of a column chart in pixels, chosen by eye."""
_LABELS = 5
"""The number of dates that fit under a chart on a telephone."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from zero.

    `part` of its value is drawn in `tone` and the rest pale; `words` are written to the right of the bar.
    """

    label: str
    value: float
    words: str
    part: float | None = None
    tone: Tone = "plain"
    detail: str = ""
    """A smaller line under the label."""


@dataclass(frozen=True, slots=True)
class Range:
    """Three quantiles of one laboratory or region, in the axis's unit."""

    label: str
    low: float
    middle: float
    high: float
    words: str
    tone: Tone = "plain"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a lane, [start, end) in the axis's unit. A text that is too long is cut at the segment's edge."""

    start: float
    end: float
    text: str
    tone: Tone = "plain"
    title: str = ""
    """The tooltip."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a timeline."""

    label: str
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


def bars(shown: Sequence[Bar]) -> Html:
    """Draw horizontal bars; the longest is as wide as the chart."""
    full = max((it.value for it in shown), default=0) or 1
    return _rows((it.label, it.detail, _bar(it, full), it.words) for it in shown)


def ranges(shown: Sequence[Range], ticks: Sequence[Tick], *, limit: float | None = None) -> Html:
    """Draw quantiles as dots on one logarithmic axis. The limit is a vertical line through all rows."""
    first, last = ticks[0].at, ticks[-1].at
    span = math.log(last / first)

    def scale(value: float) -> float:
        return _percent(math.log(min(max(value, first), last) / first) / span)

    rows = [(it.label, it.detail, _range(it, scale, ticks, limit), it.words) for it in shown]
    axis = [_tick_text(scale(it.at), it.text) for it in ticks]
    return _rows([*rows, ("", "", tag("svg", *axis, height=16, aria_hidden="true"), "")])


def columns(shown: Sequence[Bar]) -> Html:
    """Draw vertical bars in the order given. At most `_LABELS` of them have a label."""
    height = _COLUMN_HEIGHT
    full = max((it.value for it in shown), default=0) or 1
    width = 100 / max(len(shown), 1)
    every = -(-len(shown) // _LABELS)
    marks = []
    for index, it in enumerate(shown):
        tall, part = (round(height * value / full, 1) for value in (it.value, it.part or 0))
        left, wide = f"{index * width + width * 0.1:.2f}%", f"{width * 0.8:.2f}%"
        title = tag("title", f"{it.label}: {it.words}")
        marks.append(
            tag(
                "g",
                title,
                tag(
                    "rect",
                    x=left,
                    y=height - tall,
                    width=wide,
                    height=tall,
                    class_=it.tone if it.part is None else "pale",
                ),
                tag("rect", x=left, y=height - part, width=wide, height=part, class_=it.tone),
            )
        )
        if index % every == 0:
            marks.append(_tick_text(index * width + width / 2, it.label, y=height + 15))
    base = tag("line", x1="0%", x2="100%", y1=height, y2=height)
    top = tag("text", f"{full:,.0f}", x="0%", y=-4)
    chart = tag("svg", *marks, base, top, height=height + 20, role="img")
    return tag("div", chart, class_="columns")


def lanes(shown: Iterable[Lane], ticks: Sequence[Tick], start: float, end: float) -> Html:
    """Draw a timeline from `start` to `end`: one row for each lane with its segments, and an axis below."""

    def scale(at: float) -> float:
        return _percent((min(max(at, start), end) - start) / (end - start))

    grid = [tag("line", x1=f"{scale(it.at)}%", x2=f"{scale(it.at)}%", y1=0, y2="100%") for it in ticks]
    rows = [(it.label, "", tag("svg", *grid, *_segments(it, scale), height=26, role="img"), "") for it in shown]
    axis = [_tick_text(scale(it.at), it.text, anchor="start") for it in ticks if scale(it.at) < 97]
    return _rows([*rows, ("", "", tag("svg", *axis, height=16, aria_hidden="true"), "")])


def hour_ticks(longest: float) -> list[Tick]:
    """Return the ticks of a logarithmic axis of hours, from one minute to beyond the longest value."""
    marks = [
        (1 / 60, english("1 min")),
        (1 / 6, english("10 min")),
        (1, english("1 h")),
        (4, english("4 h")),
        (24, english("1 day")),
        (168, english("1 week")),
        (720, english("30 d")),
    ]
    needed = next((index for index, (at, _) in enumerate(marks) if at >= longest), len(marks) - 1)
    return [Tick(at, tr(words)) for at, words in marks[: max(needed, 4) + 1]]


def _rows(rows: Iterable[tuple[str, str, Html, str]]) -> Html:
    cells: list[Html] = []
    for label, detail, plot, words in rows:
        small = tag("small", detail) if detail else Html()
        cells += [
            tag("div", label, small, class_="label"),
            tag("div", plot, class_="plot"),
            tag("div", words, class_="value"),
        ]
    return tag("div", *cells, class_="chart")


def _bar(bar: Bar, full: float) -> Html:
    marks = [tag("rect", x=0, y=0, width="100%", height=16, rx=2, class_="track")]
    if bar.part is None:
        marks.append(tag("rect", x=0, y=0, width=f"{_percent(bar.value / full)}%", height=16, rx=2, class_=bar.tone))
    else:
        marks += [
            tag("rect", x=0, y=0, width=f"{_percent(bar.value / full)}%", height=16, rx=2, class_="pale"),
            tag("rect", x=0, y=0, width=f"{_percent(bar.part / full)}%", height=16, rx=2, class_=bar.tone),
        ]
    return tag("svg", tag("title", f"{bar.label}: {bar.words}"), *marks, height=16, role="img")


def _range(shown: Range, scale: Scale, ticks: Sequence[Tick], limit: float | None) -> Html:
    at = [scale(value) for value in (shown.low, shown.middle, shown.high)]
    marks = [tag("line", x1=f"{scale(it.at)}%", x2=f"{scale(it.at)}%", y1=0, y2=22) for it in ticks]
    if limit is not None:
        marks.append(tag("line", x1=f"{scale(limit)}%", x2=f"{scale(limit)}%", y1=0, y2=22, class_="limit"))
    marks.append(tag("line", x1=f"{at[0]}%", x2=f"{at[2]}%", y1=11, y2=11, class_="range"))
    for x, radius in zip(at, (6, 5, 4), strict=True):
        marks.append(tag("circle", cx=f"{x}%", cy=11, r=radius, class_=shown.tone))
    return tag("svg", tag("title", f"{shown.label}: {shown.words}"), *marks, height=22, role="img")


def _segments(lane: Lane, scale: Scale) -> Iterable[Html]:
    for it in lane.segments:
        left, right = scale(it.start), scale(it.end)
        if left == right:
            continue
        # Each segment is an SVG of its own, so that its edge cuts a text that is too long.
        yield tag(
            "svg",
            tag("title", it.title or f"{lane.label}: {it.text}"),
            tag("rect", x=0, y=2, width="100%", height=22, rx=2, class_=it.tone),
            tag("text", it.text, x=5, y=17, class_="inside"),
            x=f"{left}%",
            width=f"{right - left:.2f}%",
            height=26,
            class_="segment",
        )


def _tick_text(x: float, text: str, *, y: int = 12, anchor: str = "") -> Html:
    # Near the ends, a text centred on its tick would extend beyond the chart.
    anchor = anchor or ("start" if x < 4 else "end" if x > 96 else "middle")
    return tag("text", text, x=f"{x:.2f}%", y=y, text_anchor=anchor)


def _percent(share: float) -> float:
    return round(100 * share, 2)
