"""The frame of every page: its head, its style and its building blocks.

A page is one file without scripts and without references to other files. Its Content-Security-Policy makes the browser
refuse both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hutong_texts import ENGLISH, current_language, tr

from hutong_client.cli.output import say
from hutong_client.cli.pages.html import Html, join, tag
from hutong_client.cli.pages.style import STYLE

Tone = Literal["plain", "good", "warn", "bad"]
"""The meaning of a figure's or a mark's colour."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A large number at the top of a page."""

    value: str
    label: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Numbers are aligned to the right."""

    title: str
    number: bool = False


def page(title: str, parts: Iterable[Html], *, subtitle: str = "", footer: str = "") -> str:
    """Return a whole page of these parts as HTML."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    header = tag("header", tag("h1", title), tag("p", subtitle) if subtitle else Html())
    body = tag("body", header, tag("main", *parts), tag("footer", footer) if footer else Html())
    language = "en" if current_language() == ENGLISH else "zh-CN"
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang=language)}\n"


def write_page(path: Path, text: str) -> None:
    """Write a page to its file and print the path; raise OSError if the file cannot be written."""
    path.write_text(text, encoding="utf-8")
    say(tr("The page is in {path}", path=path))


def section(heading: str, *parts: str, note: str = "") -> Html:
    """Return a section with its heading and a note that says how to read it."""
    return tag("section", tag("h2", heading), tag("p", note, class_="note") if note else Html(), *parts)


def figures(shown: Iterable[Figure]) -> Html:
    """Return large numbers side by side."""
    return tag(
        "div",
        *(tag("div", tag("strong", it.value), tag("span", it.label), class_=f"figure {it.tone}") for it in shown),
        class_="figures",
    )


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Html:
    """Return a table. Cells are text, or HTML made by `tag`. On a narrow screen the table scrolls inside the page."""
    head = tag("tr", *(tag("th", tr(it.title), scope="col", class_="number" if it.number else None) for it in columns))
    body = [
        tag(
            "tr",
            *(
                tag("td", cell, class_="number" if column.number else None)
                for column, cell in zip(columns, row, strict=True)
            ),
        )
        for row in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="table")


def badge(text: str, tone: Tone) -> Html:
    """Return a highlighted word."""
    return tag("span", text, class_=f"badge {tone}")


def legend(entries: Iterable[tuple[str, str]]) -> Html:
    """Return the legend of a chart from pairs of a mark's class and its meaning."""
    return tag(
        "p",
        *(join([tag("span", class_=f"key {mark}"), tag("span", tr(words))]) for mark, words in entries),
        class_="legend",
    )
