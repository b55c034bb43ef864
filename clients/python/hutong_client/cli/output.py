"""Print answers as JSON or tables, and messages on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

import click
from google.protobuf.message import Message
from hutong_texts import escape_controls, tr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hutong_client.formatting import as_dict


def printable(text: str) -> str:
    """Return a text with its control characters escaped as in JSON, except tabs and line breaks.

    A file name, or a text that somebody else wrote, could otherwise change what a terminal shows.
    """
    return escape_controls(text, kept="\t\n")


def echo(text: str) -> None:
    """Print a part of the answer for people, without colours."""
    click.echo(printable(text))


def echo_raw(text: str, *, ends_line: bool = True) -> None:
    """Print a text as it is. What other people wrote must be escaped in the text already."""
    click.echo(text, nl=ends_line)


def print_json(value: Message | object) -> None:
    """Print a protobuf message, or dictionaries and lists, as indented JSON."""
    content = as_dict(value) if isinstance(value, Message) else value
    echo(json.dumps(content, ensure_ascii=False, indent=2))


def print_json_line(value: object) -> None:
    """Print one line of NDJSON and flush it."""
    echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def say(text: str) -> None:
    """Print a message that is not part of the answer, on standard error."""
    click.echo(printable(text), err=True)


def labelled(what: str, text: object) -> str:
    """Return an indented line with a label before its text."""
    return tr("  {what}: {text}", what=what, text=text)


def confirm(question: str) -> None:
    """Ask the question at a terminal; stop if the answer is no. Without a terminal, fail with a usage error."""
    if not sys.stdin.isatty():
        raise click.UsageError(tr("nobody can be asked; give --yes to make the change"))
    click.confirm(printable(question), abort=True, err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print rows as a table. Cells are never cut, even if a row is wider than the screen.

    The titles of the columns are printed as they are, so they must be in the language of the process.
    """
    console = Console(soft_wrap=True, width=None if _is_wide() else 400)
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _is_wide() -> bool:
    return Console().is_terminal
