"""Rows of an NDJSON file: one JSON object a line, its keys the columns."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from hutong_client.tables.columns import RESULTS
from hutong_client.tables.encoding import detect_encoding
from hutong_client.tables.rows import Cell, NotATable, Row

_LINES_LOOKED_AT = 50
"""Where none of so many lines can be read the file is no NDJSON; fewer faulty ones are faults of their rows."""


@contextlib.contextmanager
def open_ndjson(path: Path) -> Iterator[NdjsonTable]:
    """Open an NDJSON file; NotATable when none of its first lines is a JSON object."""
    with path.open(encoding=detect_encoding(path)) as file:
        table = NdjsonTable(file)
        rows = list(islice(table, _LINES_LOOKED_AT))
        if not rows:
            raise NotATable("the file is empty")
        if all(row.fault for row in rows):
            raise NotATable(f"line {rows[0].number}: {rows[0].fault}")
        file.seek(0)
        yield table


@dataclass(frozen=True, slots=True)
class NdjsonTable:
    """An open NDJSON file. What a rejected row is told with is its whole line."""

    file: TextIO
    header: Sequence[str] = ("record",)

    def __iter__(self) -> Iterator[Row]:
        """The lines that are not blank."""
        for number, line in enumerate(iter(self.file.readline, ""), start=1):
            if text := line.strip():
                yield read_record(number, text)


def read_record(number: int, text: str) -> Row:
    """One line as a row; a line that is no object is a row with a fault."""
    try:
        # Numbers stay as they are written: 18 digits would not survive a float.
        record = json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        return Row(number, {}, (text,), f"the line is no JSON ({error.msg} at character {error.pos + 1})")
    except RecursionError:
        return Row(number, {}, (text,), "the line has brackets within brackets without end; write one {...} a line")
    if not isinstance(record, dict):
        return Row(number, {}, (text,), "the line is JSON and no object; write {...} with the columns as its keys")
    cells: dict[str, Cell] = {}
    for key, value in record.items():
        column = RESULTS.find(key)
        if column is None or value is None or value == "":
            continue
        if not isinstance(value, str):
            return Row(number, {}, (text,), f"{key} is neither text nor a number")
        if not value.isprintable():
            return Row(number, {}, (text,), f"{key} holds a character that cannot be printed")
        cells[column] = value.strip()
    return Row(number, cells, (text,))
