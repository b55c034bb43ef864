"""The sheets of a workbook that hold rows, read as one table.

No sheet is left out silently. A sheet that is not read is named in the notices, or the workbook is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

from hutong_texts import list_words, tr

from hutong_client.tables.columns.header import HEADER_ROWS, find_header, has_card, title_of_result
from hutong_client.tables.columns.vocabulary import REMARK, Vocabulary
from hutong_client.tables.formats.marks import Marks
from hutong_client.tables.named_tests import Remarks, find_named_test
from hutong_client.tables.rows import ONLY_SHEET, Cell, NotATable, Row, Sheet

_EXPLANATION = re.compile(
    r"说明|须知|填写|模板|示例|字典|代码表|选项|readme|instruction|example|template", re.IGNORECASE
)
"""Names of sheets for people who fill the workbook in. Such a sheet may show an example of a person."""
_OWN_COLUMNS = frozenset({"name", "card_no", "report_no"})
"""Columns whose values belong to one person alone. A merged cell in one of these columns is never filled down."""
_ROWS_NAMED = 5
"""Number of hidden rows that a notice names; of further rows only the number is given."""


class SheetSource(Protocol):
    """One sheet of an open workbook."""

    @property
    def name(self) -> str:
        """Return the sheet's name."""

    @property
    def hidden(self) -> bool:
        """Return whether the sheet is hidden."""

    def rows(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the rows with their numbers; raise NotATable if the sheet is damaged."""

    def marks(self) -> Marks:
        """Return the sheet's merged cells and hidden rows."""


@dataclass(frozen=True, slots=True)
class _Part:
    source: SheetSource
    number: int
    columns: Mapping[int, str]
    titles: Sequence[str]
    marks: Marks
    sheet: Sheet


def read_workbook(sources: Sequence[SheetSource], vocabulary: Vocabulary, file_name: str) -> WorkbookTable:
    """Return the rows of all visible sheets that have a header. The name of the file may name the test.

    Raises:
        NotATable: no visible sheet has a header, a sheet holds people and no header, or the columns differ.
    """
    visible = [source for source in sources if not source.hidden]
    if not visible:
        raise NotATable(tr("the workbook has no visible sheet of cells"))
    unread = [source.name for source in sources if source.hidden]
    notices: list[str] = []
    found: list[tuple[SheetSource, int, Sequence[str], dict[int, str]]] = []
    failures: list[tuple[SheetSource, NotATable]] = []
    for source in visible:
        if (len(visible) > 1 or unread) and not any(any(map(as_text, values)) for _, values in source.rows()):
            continue
        try:
            found.append((source, *find_header(_first_texts(source), vocabulary)))
        except NotATable as error:
            failures.append((source, error))
    if not found and not failures and unread:
        raise NotATable(
            tr(
                "the visible sheets of the workbook are empty; unhide {names} if they hold results",
                names=list_words(unread),
            )
        )
    if not found:
        raise failures[0][1] if failures else NotATable(tr("the file, or the first sheet of the workbook, is empty"))
    for source, failure in failures:
        if not _EXPLANATION.search(source.name) and _has_people(source, vocabulary):
            raise NotATable(
                tr("the sheet {name} cannot be read: {failure}", name=source.name, failure=failure)
            ) from failure
        notices.append(tr("The sheet {name} names no columns of results and was not read.", name=source.name))
    titles = [_trimmed(part[2]) for part in found]
    if any(other != titles[0] for other in titles):
        names = list_words(part[0].name for part in found)
        raise NotATable(tr("the sheets {names} have different columns; save each in a file of its own", names=names))
    parts = []
    for position, (source, number, own, columns) in enumerate(found):
        marks = source.marks()
        if marks.is_uncomputed(columns):
            raise NotATable(
                tr(
                    "the sheet {name} has formulas whose values are not stored, so their cells would be read as empty; "
                    "open the workbook in a spreadsheet program and save it as .xlsx",
                    name=source.name,
                )
            )
        first_rows = takewhile(lambda row, last=number: row[0] <= last, _first_texts(source))  # type: ignore[misc]
        above = " ".join(text for _, texts in first_rows for text in texts)
        test = find_named_test(title_of_result(own, columns), [source.name, above, file_name])
        sheet = Sheet(position, source.name if len(found) > 1 else "", test) if test or len(found) > 1 else ONLY_SHEET
        parts.append(_Part(source, number, columns, own, marks, sheet))
        hidden = [row for row in marks.hidden_rows if row > number]
        if hidden:
            rows = tr("row is hidden") if len(hidden) == 1 else tr("rows are hidden")
            notices.append(
                tr(
                    "In the sheet {name} {count} {rows} ({hidden}). Hidden rows are read like others.",
                    name=source.name,
                    count=len(hidden),
                    rows=rows,
                    hidden=_list(hidden),
                )
            )
    notices += [tr("The hidden sheet {name} was not read.", name=name) for name in unread]
    if len(found) > 1:
        notices.insert(
            0, tr("The sheets {value} are read one after another.", value=list_words(part[0].name for part in found))
        )
    return WorkbookTable(parts, notices)


class WorkbookTable:
    """The rows of a workbook's sheets."""

    def __init__(self, parts: Sequence[_Part], notices: Sequence[str]) -> None:
        self._parts = parts
        self.notices = notices
        self.header = parts[0].titles
        self.named_test = next((part.sheet.test for part in parts if part.sheet.test), "")

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows after each sheet's header."""
        for part in self._parts:
            yield from _read_part(part)


def _read_part(part: _Part) -> Iterator[Row]:
    columns = list(part.columns.items())
    filler = _Filler(part)
    remarks = Remarks(part.titles, part.columns)
    for number, own in part.source.rows():
        if number <= part.number:
            continue
        values, original = own, [value if type(value) is str else as_text(value) for value in own]
        if not any(original):
            continue
        if filler.needed:
            values, original = filler.fill(number, values, original)
        width = len(original)
        cells: dict[str, Cell] = {}
        for at, column in columns:
            if at < width and original[at] and (text := original[at].strip()):
                value = values[at]
                cells[column] = text if type(value) is str else _as_cell(value)
        if remark := remarks.read(original):
            cells[REMARK] = remark
        if cells or any(text.strip() for text in original):
            yield Row(number, cells, original, "", part.sheet)


class _Filler:
    """Writer of a merged cell's value into all rows of its range."""

    def __init__(self, part: _Part) -> None:
        self._ranges = {
            at: sorted(span for span in spans if span[0] > part.number)
            for at, spans in part.marks.merged.items()
            if at in part.columns and part.columns[at] not in _OWN_COLUMNS
        }
        self._values: dict[tuple[int, int], tuple[Any, str]] = {}
        self.needed = any(self._ranges.values())

    def fill(self, number: int, values: Sequence[Any], original: list[str]) -> tuple[Sequence[Any], list[str]]:
        """Return a row's values and texts, completed from the merged ranges that reach into it."""
        filled = list(values)
        for at, spans in self._ranges.items():
            index = bisect_right(spans, (number, 1 << 31)) - 1
            if index < 0 or spans[index][1] < number:
                continue
            first, last = spans[index]
            if number == first:
                if at < len(filled):
                    self._values[at, first] = filled[at], original[at]
            elif (at, first) in self._values:
                missing = at + 1 - len(filled)
                filled += [None] * missing
                original += [""] * missing
                filled[at], original[at] = self._values[at, first]
            if number == last:
                self._values.pop((at, first), None)
        return filled, original


def _first_texts(source: SheetSource) -> Iterator[tuple[int, list[str]]]:
    """Yield the sheet's rows as texts for the search of the header.

    Damage after the first row ends the search here and is reported when the rows are read.
    """
    number = 0
    try:
        for number, values in source.rows():
            yield number, [as_text(value) for value in values]
    except NotATable:
        if not number:
            raise


def _has_people(source: SheetSource, vocabulary: Vocabulary) -> bool:
    """Check whether a sheet without a complete header holds people: several required titles, or a card number."""
    for at, (_, texts) in enumerate(_first_texts(source)):
        if has_card(texts):
            return True
        if at < HEADER_ROWS and sum(vocabulary.find(text) in vocabulary.required for text in texts) > 1:
            return True
    return False


def _trimmed(titles: Sequence[str]) -> list[str]:
    trimmed = [title.strip() for title in titles]
    while trimmed and not trimmed[-1]:
        trimmed.pop()
    return trimmed


def _list(rows: Sequence[int]) -> str:
    named = list_words(map(str, rows[:_ROWS_NAMED]))
    return named + (tr(", ...") if len(rows) > _ROWS_NAMED else "")


def _as_cell(value: Any) -> Cell:
    if isinstance(value, bool | int | float | dt.datetime | dt.time):
        return value
    # A date becomes text, because it has no time of day from which a window could be counted.
    return as_text(value)


def as_text(value: Any) -> str:
    """Return a cell as a clerk sees it in Excel."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
