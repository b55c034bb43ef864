"""How answers look on a screen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hutong_client.tables.times import SHANGHAI


class Enum(Protocol):
    """One of the contract's enums."""

    def Name(self, number: Any) -> str:
        """The name of a value; ValueError when it is not known."""

    def items(self) -> Sequence[tuple[str, Any]]:
        """Names and values."""


def as_dict(message: Message) -> dict[str, Any]:
    """A message by the proto JSON mapping, with the contract's own field names."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_json(value: Message | object) -> None:
    """Print a message, or something made of dictionaries and lists, as indented JSON."""
    content = as_dict(value) if isinstance(value, Message) else value
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))


def print_json_line(value: object) -> None:
    """Print one line of NDJSON, and pass it on at once."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def say(text: str) -> None:
    """Tell the person at the screen something that is not part of the answer."""
    click.echo(text, err=True)


def moment(stamp: Timestamp) -> str:
    """An instant in civil time of China, "2022-08-11 09:30:00"; empty for none."""
    if not stamp.seconds:
        return ""
    return datetime.fromtimestamp(stamp.seconds, SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def span(duration: Duration) -> str:
    """A span as people say it: "48 h", "1 h 30 min", "45 s"."""
    seconds = duration.seconds
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)


def word(enum: Enum, number: int, prefix: str) -> str:
    """An enum's value as people read it: "not recognized"."""
    try:
        return enum.Name(number).removeprefix(prefix).replace("_", " ").lower()
    except ValueError:
        return str(number)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print rows under their columns; cells are never cut, not even where the screen ends."""
    console = Console(soft_wrap=True, width=None if _is_wide() else 400)
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _is_wide() -> bool:
    return Console().is_terminal
