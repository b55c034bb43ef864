"""Read rows of a CSV file as Excel and laboratory systems write it."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from hutong_texts import english, tr

from hutong_client.tables.columns.header import HEADER_ROWS, find_header, title_of_result
from hutong_client.tables.columns.vocabulary import REMARK, Vocabulary
from hutong_client.tables.formats.encoding import detect_encoding
from hutong_client.tables.named_tests import Remarks, find_named_test
from hutong_client.tables.rows import NUL_FAULT, ONLY_SHEET, NotATable, Row, Sheet

_DELIMITERS = ",\t;，|"
_MAX_CELL_CHARACTERS = 1 << 20
"""The CSV reader's limit for a cell, far more than any valid cell has."""
_MAX_RECORD_CHARACTERS = 32_767
"""Excel's limit for a cell. A longer record of several lines has a quotation mark that is never closed."""
_END_OF_FILE = "\x1a"
"""The character with which DOS programs end a file."""
_KEPT_AS_TEXT = re.compile(r'="((?:[^"]|"")*)"')
"""A text that is written as a formula, so that a spreadsheet program keeps its zeros and digits."""
_STRAY_QUOTE = english(
    "the row cannot be read because of a stray quotation mark; remove it, or put the "
    "whole cell in quotation marks and write the one inside twice"
)


@contextlib.contextmanager
def open_csv(path: Path, vocabulary: Vocabulary, encoding: str = "") -> Iterator[CsvTable]:
    """Open a CSV file; raise NotATable if none of its first rows is a header."""
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    with path.open(encoding=detect_encoding(path, encoding), newline="") as file:
        delimiter = _find_delimiter(file, vocabulary)
        file.seek(0)
        first = _Lines(file)
        number, titles, columns = find_header(_first_records(first, _records(first, delimiter)), vocabulary)
        file.seek(0)
        lines = _Lines(file)
        records = _records(lines, delimiter)
        above: list[str] = []
        for _ in range(number):
            lines.begin()
            above += next(records)
        named_test = find_named_test(title_of_result(titles, columns), [" ".join(above), path.name])
        yield CsvTable(titles, columns, lines, records, delimiter, number, named_test)


class _Lines:
    """Physical lines of a file for the CSV reader. The lines of a faulty record can be read again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._returned: deque[str] = deque()
        self._characters = 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._characters > _MAX_RECORD_CHARACTERS:
            raise csv.Error
        line = self._returned.popleft() if self._returned else next(self._file)
        self.taken.append(line)
        self._characters += len(line)
        return line

    def begin(self) -> None:
        """Begin a new record. `taken` holds the lines that are read from now on."""
        self.taken = []
        self._characters = 0

    def keep_first(self) -> str:
        """Return the record's first line, and put the other lines back into the queue, to be read again."""
        first, *others = self.taken
        self._returned.extendleft(reversed(others))
        return first


@dataclass(frozen=True, slots=True)
class CsvTable:
    """An open CSV file. A row is one record, so a quoted line break inside a cell begins no new row, as in Excel.

    A quotation mark that is never closed makes one record of all the rows that follow. If a record cannot be read or
    contains other rows, only its first line is faulty, and its other lines are read again as rows.
    """

    header: Sequence[str]
    columns: dict[int, str]
    lines: _Lines
    records: Iterator[list[str]]
    delimiter: str
    header_number: int
    named_test: str = ""
    notices: Sequence[str] = ()

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows after the header."""
        number = self.header_number
        sheet = Sheet(test=self.named_test) if self.named_test else ONLY_SHEET
        remarks = Remarks(self.header, self.columns)
        while True:
            number += 1
            self.lines.begin()
            try:
                cells = next(self.records)
                readable = len(self.lines.taken) == 1 or not self._contains_other_rows()
            except StopIteration:
                return
            except csv.Error:
                readable = False
            if not readable:
                yield Row(number, {}, self._split(self.lines.keep_first()), _STRAY_QUOTE, sheet)
            elif any(map(str.strip, cells)) and cells != [_END_OF_FILE]:
                yield self._row(number, cells, sheet, remarks)

    def _row(self, number: int, cells: list[str], sheet: Sheet, remarks: Remarks) -> Row:
        width = len(cells)
        known = {column: text for at, column in self.columns.items() if at < width and (text := cells[at].strip())}
        taken = self.lines.taken
        line = taken[0] if len(taken) == 1 else "".join(taken)
        if '="' in line:
            known = {column: text for column, cell in known.items() if (text := _take_text(cell))}
        if remark := remarks.read(cells):
            known[REMARK] = remark
        fault = ""
        if "\x00" in line:
            fault = NUL_FAULT
        elif width > len(self.header) and any(map(str.strip, cells[len(self.header) :])):
            fault = tr(
                "the row has {width} cells and the header {count}; a comma inside a cell needs "
                "quotation marks around the cell",
                width=width,
                count=len(self.header),
            )
        return Row(number, known, cells, fault, sheet)

    def _contains_other_rows(self) -> bool:
        """Check whether at least two of the record's lines have as many cells as a row.

        One row with a line break in a cell has at most one such line. The CSV reader cannot notice this fault, because
        two stray quotation marks close each other.
        """
        cells = max(at for at, title in enumerate(self.header, start=1) if title.strip())
        return sum(line.count(self.delimiter) >= cells - 1 for line in self.lines.taken) > 1

    def _split(self, line: str) -> list[str]:
        """Split a line into cells and keep all quotation marks."""
        return line.rstrip("\r\n").split(self.delimiter)


def _take_text(cell: str) -> str:
    kept = _KEPT_AS_TEXT.fullmatch(cell)
    return kept[1].replace('""', '"') if kept else cell


def _records(lines: _Lines, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)


def _first_records(lines: _Lines, records: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the records with their numbers, for the search of the header, up to the first unreadable one."""
    for number in itertools.count(1):
        lines.begin()
        try:
            cells = next(records, None)
        except csv.Error:
            if number > 1:
                return
            raise NotATable(tr("the first row cannot be read as CSV; look for a stray quotation mark in it")) from None
        if cells is None:
            return
        yield number, cells


def _find_delimiter(file: TextIO, vocabulary: Vocabulary) -> str:
    """Return the delimiter with which one of the possible header lines has the most known columns."""
    filled = (line for line in iter(partial(file.readline, _MAX_CELL_CHARACTERS), "") if line.strip())
    lines = list(itertools.islice(filled, HEADER_ROWS))
    if not lines:
        raise NotATable(tr("the file is empty"))

    def known_columns(delimiter: str) -> int:
        return max(vocabulary.count_known(title.strip('"') for title in line.split(delimiter)) for line in lines)

    return max(_DELIMITERS, key=known_columns)
