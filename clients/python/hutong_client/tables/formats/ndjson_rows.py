"""Read rows of an NDJSON file: one JSON object per line, with the columns as its keys."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TextIO

from hutong_texts import tr

from hutong_client.tables.columns.header import name_columns
from hutong_client.tables.columns.vocabulary import REMARK, RESULTS
from hutong_client.tables.formats.encoding import detect_encoding
from hutong_client.tables.named_tests import find_named_test, name_tests, words_of_remark
from hutong_client.tables.rows import ONLY_SHEET, Cell, NotATable, Row, Sheet

_LINES_LOOKED_AT = 50
"""If none of this many first lines can be read, the file is not NDJSON. Otherwise faults belong to single rows."""


@contextlib.contextmanager
def open_ndjson(path: Path, encoding: str = "") -> Iterator[NdjsonTable]:
    """Open an NDJSON file; raise NotATable if none of its first lines is a JSON object."""
    with path.open(encoding=detect_encoding(path, encoding)) as file:
        table = NdjsonTable(file, named_test=find_named_test("", [path.name]))
        rows = list(islice(table, _LINES_LOOKED_AT))
        if not rows:
            raise NotATable(tr("the file is empty"))
        if all(row.fault for row in rows):
            raise NotATable(tr("line {number}: {fault}", number=rows[0].number, fault=rows[0].fault))
        file.seek(0)
        yield table


@dataclass(frozen=True, slots=True)
class NdjsonTable:
    """An open NDJSON file. The original of a row is its whole line."""

    file: TextIO
    header: Sequence[str] = ("record",)
    named_test: str = ""
    notices: Sequence[str] = ()

    def __iter__(self) -> Iterator[Row]:
        """Yield the lines that are not blank."""
        sheet = Sheet(test=self.named_test) if self.named_test else ONLY_SHEET
        for number, line in enumerate(iter(self.file.readline, ""), start=1):
            if text := line.strip():
                yield read_record(number, text, sheet)


@lru_cache(maxsize=256)
def _columns_of(keys: tuple[str, ...]) -> dict[str, str]:
    """Return the known columns of a record's keys. Cached, because nearly all lines have the same keys."""
    return {keys[at]: column for at, column in name_columns(keys, RESULTS).items()}


def read_record(number: int, text: str, sheet: Sheet = ONLY_SHEET) -> Row:
    """Read one line as a row. A line that is not a JSON object becomes a row with a fault."""
    try:
        # Numbers are kept as text, because a float cannot hold 18 digits.
        record = json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        return Row(
            number,
            {},
            (text,),
            tr("the line is not JSON ({msg} at character {value})", msg=error.msg, value=error.pos + 1),
        )
    except RecursionError:
        return Row(number, {}, (text,), tr("the line has too many nested brackets; write one {...} per line"))
    if not isinstance(record, dict):
        return Row(number, {}, (text,), tr("the line is not a JSON object; write {...} with the columns as its keys"))
    cells: dict[str, Cell] = {}
    try:
        columns = _columns_of(tuple(key for key, value in record.items() if value not in {None, ""}))
    except TypeError:  # an unhashable value
        columns = _columns_of(tuple(record))
    except NotATable as error:
        return Row(number, {}, (text,), str(error))
    for key, value in record.items():
        column = columns.get(key)
        if column is None and isinstance(value, str) and (words := words_of_remark(key)) and words.search(value):
            cells[REMARK] = f"{cells.get(REMARK, '')} {value}"
        if column is None or value is None or value == "":
            continue
        if not isinstance(value, str):
            return Row(number, {}, (text,), tr("{key} is neither text nor a number", key=key))
        if not value.isprintable():
            return Row(number, {}, (text,), tr("{key} has a character that cannot be printed", key=key))
        cells[column] = value.strip()
        if column == "nat_result" and name_tests(key):
            cells[REMARK] = f"{cells.get(REMARK, '')} {key}"
    return Row(number, cells, (text,), "", sheet)
