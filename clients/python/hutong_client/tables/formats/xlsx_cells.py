"""Read the cells of a sheet of an .xlsx as the workbook shows them.

openpyxl reads cells too, but takes three times as long, reads a sheet without a stated size twice, and leaves out rows
that stand in the wrong order. calamine holds a whole sheet in memory.
"""

from __future__ import annotations

import datetime as dt
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any
from xml.parsers import expat

from openpyxl import Workbook
from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE, is_datetime
from openpyxl.utils import column_index_from_string
from openpyxl.utils import datetime as openpyxl_times

from hutong_client.tables.formats.marks import read_template

_CHUNK = 1 << 16
_SPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
"""Namespaces of the transitional and of the strict form of the format."""
_ELEMENTS = {f"{space} {name}": name for space in _SPACES for name in ("row", "c", "v", "t", "rPh", "si")}
_LAST_COLUMN = 16_384
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
"""A character that XML cannot hold, such as a carriage return."""
_OUT_OF_RANGE = "#VALUE!"
Show = Callable[[Any], Any]


class Shown:
    """How the workbook shows numbers: for each style the function that converts a number, or None.

    None means that the number stays as it is. A workbook stores a date without a time of day as midnight, and stores a
    number without the leading zeros or letters that it shows. Only the format of the cell tells how the value is shown.
    Both kinds of value are returned as text.
    """

    def __init__(self, book: Workbook) -> None:
        # openpyxl has no public names for the styles of a workbook.
        internal: Any = book
        self.by_style: list[Show | None] = []
        for number, style in enumerate(internal._cell_styles):  # noqa: SLF001
            at = style.numFmtId - BUILTIN_FORMATS_MAX_SIZE
            code = BUILTIN_FORMATS.get(style.numFmtId, "") if at < 0 else internal._number_formats[at]  # noqa: SLF001
            if number in internal._date_formats:  # noqa: SLF001
                is_duration = number in internal._timedelta_formats  # noqa: SLF001
                self.by_style.append(_show_time(internal.epoch, is_duration, is_datetime(code) == "date"))
            else:
                self.by_style.append(_fill_in(template) if (template := read_template(code)) else None)


def _show_time(epoch: dt.datetime, is_duration: bool, is_date: bool) -> Show:
    @lru_cache(maxsize=4096)
    def show(number: float) -> Any:
        try:
            value = openpyxl_times.from_excel(number, epoch, timedelta=is_duration)
        except (OverflowError, ValueError):
            return _OUT_OF_RANGE
        if is_date and isinstance(value, dt.datetime) and value.time() == dt.time():
            return f"{value:%Y-%m-%d}"
        return value

    return show


def _fill_in(template: str) -> Show:
    return lambda number: template.format(number) if type(number) is int and number >= 0 else number


class _Reader(ABC):
    """Reader of elements that gathers the texts of one cell or shared string."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._texts: list[str] = []
        self._is_phonetic = False

    @abstractmethod
    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Read the start of an element."""

    @abstractmethod
    def _end(self, name: str) -> None:
        """Read the end of an element."""

    def _parse(self, part: IO[bytes]) -> Iterator[None]:
        while True:
            chunk = part.read(_CHUNK)
            self._parser.Parse(chunk, not chunk)
            yield
            if not chunk:
                return

    def _begin_text(self) -> None:
        if not self._is_phonetic:
            self._parser.CharacterDataHandler = self._texts.append

    def _end_text(self) -> None:
        self._parser.CharacterDataHandler = None

    def _take_text(self) -> str:
        text = self._texts[0] if len(self._texts) == 1 else "".join(self._texts)
        self._texts.clear()
        return _unescape(text) if "_x" in text else text


def _unescape(text: str) -> str:
    """Return a text with its escaped characters; raise UnicodeDecodeError for half a character."""
    unescaped = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    # Two escapes in UTF-16 may stand for the two halves of one character.
    return unescaped.encode("utf-16", "surrogatepass").decode("utf-16")


class StringReader(_Reader):
    """Reader of the strings that the cells of a workbook share."""

    def __init__(self) -> None:
        super().__init__()
        self._strings: list[str] = []

    def read(self, part: IO[bytes]) -> Sequence[str]:
        """Return the strings in their order."""
        for _ in self._parse(part):
            pass
        return self._strings

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002 - expat gives them
        element = _ELEMENTS.get(name)
        if element == "t":
            self._begin_text()
        elif element == "rPh":
            self._is_phonetic = True

    def _end(self, name: str) -> None:
        element = _ELEMENTS.get(name)
        if element == "t":
            self._end_text()
        elif element == "rPh":
            self._is_phonetic = False
        elif element == "si":
            self._strings.append(self._take_text())


class RowReader(_Reader):
    """Reader of the rows of one sheet.

    Args:
        strings: the shared strings of the workbook.
        shown: how the workbook shows numbers.
    """

    def __init__(self, strings: Sequence[str], shown: Shown) -> None:
        super().__init__()
        self._strings = strings
        self._shown = shown.by_style
        self._rows: deque[tuple[int, list[Any]]] = deque()
        self._number = 0
        self._cells: list[Any] = []
        self._at = 0
        self._kind = self._style = ""

    def read(self, part: IO[bytes]) -> Iterator[tuple[int, list[Any]]]:
        """Yield the rows with their numbers. The rows before damage are yielded before the error is raised."""
        try:
            for _ in self._parse(part):
                yield from self._take_rows()
        except Exception:
            yield from self._take_rows()
            raise

    def _take_rows(self) -> Iterator[tuple[int, list[Any]]]:
        while self._rows:
            yield self._rows.popleft()

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        element = _ELEMENTS.get(name)
        if element == "c":
            reference = attributes.get("r")
            self._at = len(self._cells) if reference is None else _column_of(reference.rstrip("0123456789"))
            self._kind = attributes.get("t", "n")
            self._style = attributes.get("s", "")
        elif element in {"v", "t"}:
            self._begin_text()
        elif element == "row":
            self._start_row(attributes)
        elif element == "rPh":
            self._is_phonetic = True

    def _start_row(self, attributes: Mapping[str, str]) -> None:
        number = attributes.get("r")
        own = self._number + 1 if number is None else int(float(number))
        if own <= self._number:
            raise ValueError(f"row {own} stands below row {self._number}")
        self._number, self._cells = own, []

    def _end(self, name: str) -> None:
        element = _ELEMENTS.get(name)
        if element in {"v", "t"}:
            self._end_text()
        elif element == "c":
            missing = self._at - len(self._cells)
            if missing > 0:
                self._cells += [None] * missing
            value = self._read_value(self._take_text()) if self._texts else None
            if missing >= 0:
                self._cells.append(value)
            else:
                self._cells[self._at] = value
        elif element == "row":
            self._rows.append((self._number, self._cells))
        elif element == "rPh":
            self._is_phonetic = False

    def _read_value(self, text: str) -> Any:
        kind = self._kind
        if kind == "n":
            number = float(text) if "." in text or "e" in text or "E" in text else int(text)
            show = self._shown[int(self._style)] if self._style else None
            return number if show is None else show(number)
        if kind == "s":
            return self._strings[int(text)]
        if kind == "b":
            return bool(int(text))
        return _read_iso(text) if kind == "d" else text


def _read_iso(text: str) -> Any:
    return openpyxl_times.from_ISO8601(text)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1024)
def _column_of(letters: str) -> int:
    column = column_index_from_string(letters)
    if column > _LAST_COLUMN:
        raise ValueError(f"there is no column {letters}")
    return column - 1
