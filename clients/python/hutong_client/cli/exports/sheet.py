"""A table of typed values, which a command prints or writes to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hutong_client.cli.output import print_table
from hutong_client.formatting import SHANGHAI, span

Value: TypeAlias = str | int | float | datetime | timedelta | None
"""A cell. A time has no zone and is Asia/Shanghai's, because workbooks have no zones. None is an empty cell."""

SHARE = "0.00%"
"""The number format of a share from 0 to 1."""
SECONDS = "0.000"
"""The number format of seconds with their milliseconds. The column's title names the unit."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title in the language of the process, and the number format of its cells if they are fractions."""

    title: str
    number_format: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with a title of at most 28 characters, which is the name of its sheet in a workbook."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]

    def show(self) -> None:
        """Print the table."""
        formats = [column.number_format for column in self.columns]
        rows = ([_text(value, shape) for value, shape in zip(row, formats, strict=True)] for row in self.rows)
        print_table([column.title for column in self.columns], rows)


def _text(value: Value, number_format: str) -> str:
    """Format a cell for people."""
    if value is None:
        return ""
    if isinstance(value, timedelta):
        duration = Duration()
        duration.FromTimedelta(value)
        return span(duration)
    if isinstance(value, float):
        return f"{value:.1%}" if number_format == SHARE else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def time_value(stamp: Timestamp) -> datetime | None:
    """Return the value of an instant, to the second; an unset instant gives an empty cell."""
    return datetime.fromtimestamp(stamp.seconds, SHANGHAI).replace(tzinfo=None) if stamp.seconds else None


def span_value(duration: Duration) -> timedelta:
    """Return the value of a duration, to the second."""
    return timedelta(seconds=duration.seconds)
