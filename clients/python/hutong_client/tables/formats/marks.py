"""Properties of a sheet's cells besides their values."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from hutong_texts import tr

from hutong_client.tables.rows import NotATable
from hutong_client.tables.words import ERROR_VALUES

_ERROR_TEXTS = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A", 0x2B: "#GETTING_DATA",
}  # fmt: skip
_FORMAT = re.compile(r"""((?:"[^"]*"|\\.|[ /-])*)(0+)""")
"""A format with quoted or escaped characters before zeros. The zeros fill a number up with leading zeros."""
_OTHER_ERROR = "#VALUE!"
_MOST_CELLS = 1 << 25
"""The most cells of a used range. calamine can hold this many in 1 GiB of memory."""


@dataclass(slots=True)
class Marks:
    """Properties of a sheet's cells besides their values.

    Attributes:
        merged: position of a column, from 0 → first and last row of each merged range of this column alone.
        hidden_rows: numbers of hidden rows.
        texts: row number → position of a column → the text that the workbook shows, where the reader returns another
            cell: an error value, or a number with leading zeros or letters.
        uncomputed: whether the sheet contains formulas without values, which the reader returns as empty cells.
    """

    merged: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    hidden_rows: list[int] = field(default_factory=list)
    texts: dict[int, dict[int, str]] = field(default_factory=dict)
    uncomputed: bool = False
    _rows: int = 0
    _columns: int = 0
    _empty_formulas: set[int] = field(default_factory=set)
    _computed: set[int] = field(default_factory=set)

    def note_cell(self, row: int, column: int) -> None:
        """Note the position of a cell with a value, from 0; raise NotATable if the used range becomes too large."""
        if row < self._rows and column < self._columns:
            return
        self._rows, self._columns = max(self._rows, row + 1), max(self._columns, column + 1)
        if self._rows * self._columns > _MOST_CELLS:
            raise NotATable(
                tr(
                    "a sheet of the workbook has a used range of {rows} rows and {columns} columns, which is too large "
                    "for this format; delete what stands far from the table, or save the workbook as .xlsx",
                    rows=self._rows,
                    columns=self._columns,
                )
            )

    def note_number(self, row: int, column: int, number: float, template: str) -> None:
        """Note a number that is shown by a template (`read_template`). Row and column are counted from 0."""
        if number >= 0 and number == int(number):
            self.note_text(row, column, template.format(int(number)))

    def note_text(self, row: int, column: int, text: str) -> None:
        """Note the text that the workbook shows in a cell. Row and column are counted from 0."""
        self.texts.setdefault(row + 1, {})[column] = text

    def note_formula(self, column: int, *, is_empty: bool) -> None:
        """Note a formula in a workbook whose format stores an empty text for formulas that were never computed."""
        (self._empty_formulas if is_empty else self._computed).add(column)

    def is_uncomputed(self, columns: Iterable[int]) -> bool:
        """Check whether formulas have no values.

        If the format does not tell, formulas that are empty in the whole column have none.
        """
        return self.uncomputed or not (self._empty_formulas - self._computed).isdisjoint(columns)

    def note_merged(self, column: int, first: int, last: int) -> None:
        """Note a merged range of one column by the numbers of its rows."""
        self.merged.setdefault(column, []).append((first, last))


def read_template(code: str) -> str:
    """Return the template for `str.format` of a format that shows numbers with leading zeros or after letters.

    Return an empty text for any other format, also for a format that adds only signs, such as a currency sign. The
    number stays the same with such a sign.
    """
    found = _FORMAT.fullmatch(code)
    if found is None:
        return ""
    before = found[1].replace('"', "").replace("\\", "")
    if not any(character.isalnum() for character in before):
        return f"{{:0{len(found[2])}}}" if len(found[2]) > 1 and not before else ""
    return f"{before.replace('{', '{{').replace('}', '}}')}{{:0{len(found[2])}}}"


def read_rk(body: bytes) -> float:
    """Return the number of four bytes in which .xls and .xlsb store most numbers, as 30 bits and two flags."""
    (packed,) = struct.unpack("<i", body)
    number = packed >> 2 if packed & 2 else struct.unpack("<d", bytes(4) + struct.pack("<i", packed & ~3))[0]
    return float(number / 100 if packed & 1 else number)


def name_error(value: int | str) -> str:
    """Return the text of an error value by its code in .xls and .xlsb, or by the text that a program shows for it."""
    if isinstance(value, str):
        return value if value in ERROR_VALUES else _OTHER_ERROR
    return _ERROR_TEXTS.get(value, _OTHER_ERROR)
