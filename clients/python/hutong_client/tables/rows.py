"""Rows of a file, whatever its format, and which format a file has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from hutong_client.tables.columns import Vocabulary

Cell = str | int | float | bool | datetime
"""What a file says in one place: text, except in a workbook, where a cell can be a number or a time without a zone."""
Format = Literal["csv", "ndjson", "xlsx"]
"""The formats that are read."""
NUL_FAULT = "the row holds a NUL character, which a damaged file has and no spreadsheet shows; type the row anew"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` is the one that Excel (for NDJSON: any editor) shows beside it.

    Attributes:
        cells: column → cell, by the names that `columns` knows; columns that nobody knows and empty cells are left out.
        original: the row as it stands in the file, for the rejects.
        fault: why the row cannot be read at all; empty when it can.
    """

    number: int
    cells: Mapping[str, Cell]
    original: Sequence[str]
    fault: str = ""


class Table(Protocol):
    """An open file's rows."""

    @property
    def header(self) -> Sequence[str]:
        """The names of what `Row.original` holds."""

    def __iter__(self) -> Iterator[Row]:
        """The rows from the first on, empty ones left out."""


class NotATable(Exception):
    """The file cannot be read as a table. The text says what to do about it."""


def open_table(path: Path, vocabulary: Vocabulary | None = None) -> AbstractContextManager[Table]:
    """Open a file by what it holds.

    Args:
        path: the file.
        vocabulary: its columns; None for those of a laboratory's results, the only ones that NDJSON is read with.

    Raises:
        NotATable: it is empty, of another kind, or lacks a header that can be understood.
    """
    # Each format's module needs Row from here.
    from hutong_client.tables.columns import RESULTS  # noqa: PLC0415
    from hutong_client.tables.csv_rows import open_csv  # noqa: PLC0415
    from hutong_client.tables.ndjson_rows import open_ndjson  # noqa: PLC0415
    from hutong_client.tables.xlsx_rows import open_xlsx  # noqa: PLC0415

    match detect_format(path):
        case "ndjson":
            return open_ndjson(path)
        case "xlsx":
            return open_xlsx(path, vocabulary or RESULTS)
        case "csv":
            return open_csv(path, vocabulary or RESULTS)


def detect_format(path: Path) -> Format:
    """A file's format by what it holds; its name only decides between NDJSON and CSV.

    Raises:
        NotATable: it is empty or of another kind.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise NotATable("the file is empty")
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            raise NotATable(f"the file is {kind}; save it as .xlsx or as CSV UTF-8 and give that")
    if start.startswith(_ARCHIVES):
        raise NotATable("the file is an archive; unpack it and give the table that is in it")
    if start.startswith(b"PK\x03\x04"):
        return "xlsx"
    if path.suffix.lower() in {".ndjson", ".jsonl"} or start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return "ndjson"
    return "csv"


_OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0": "a workbook of Excel 97-2003 (.xls), or one with a password",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"RIFF": "a picture",
    b"{\\rtf": "a text document (RTF)",
    b"<": "a web page or XML",
}
_ARCHIVES = (b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")
