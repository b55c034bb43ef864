"""The frame of every page: its head, its style, and the pieces that all pages are made of.

A page is one file without script and without any reference to another one; its own policy forbids both to the browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hutong_client.cli.output import say
from hutong_client.cli.pages.html import Html, join, tag
from hutong_client.cli.pages.style import STYLE

Tone = Literal["plain", "good", "warn", "bad"]
"""What a reader's eye is to make of a figure or a mark."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a reader sees first."""

    value: str
    label: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand at its right end."""

    title: str
    number: bool = False


def page(title: str, parts: Iterable[Html], *, subtitle: str = "", footer: str = "") -> str:
    """A whole page of these parts, from the doctype to the end."""
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
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def write_page(path: Path, text: str) -> None:
    """Write a page to its file and say so; OSError where that cannot be."""
    path.write_text(text, encoding="utf-8")
    say(f"The page is in {path}")


def section(heading: str, *parts: str, note: str = "") -> Html:
    """A part of a page under its heading, with a sentence that says how to read it."""
    return tag("section", tag("h2", heading), tag("p", note, class_="note") if note else Html(), *parts)


def figures(shown: Iterable[Figure]) -> Html:
    """Numbers side by side."""
    return tag(
        "div",
        *(tag("div", tag("strong", it.value), tag("span", it.label), class_=f"figure {it.tone}") for it in shown),
        class_="figures",
    )


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Html:
    """A table; cells are text, or HTML made by `tag`. On a narrow screen it scrolls by itself."""
    head = tag("tr", *(tag("th", it.title, scope="col", class_="number" if it.number else None) for it in columns))
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
    """A word that stands out."""
    return tag("span", text, class_=f"badge {tone}")


def legend(entries: Iterable[tuple[str, str]]) -> Html:
    """What the marks of a chart mean: (class of the mark, words)."""
    return tag(
        "p",
        *(join([tag("span", class_=f"key {mark}"), tag("span", words)]) for mark, words in entries),
        class_="legend",
    )
