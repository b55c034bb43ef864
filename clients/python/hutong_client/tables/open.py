"""Open a file of rows by what it holds: CSV, NDJSON or a workbook."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from hutong_client.tables.columns import RESULTS, Vocabulary
from hutong_client.tables.csv_rows import open_csv
from hutong_client.tables.ndjson_rows import open_ndjson
from hutong_client.tables.rows import NotATable, Table
from hutong_client.tables.xlsx_rows import open_xlsx

Format = Literal["csv", "ndjson", "xlsx"]
"""The formats that are read."""
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


def open_table(path: Path, vocabulary: Vocabulary | None = None) -> AbstractContextManager[Table]:
    """Open a file by what it holds.

    Args:
        path: the file.
        vocabulary: its columns; None for those of a laboratory's results, the only ones that NDJSON is read with.

    Raises:
        NotATable: it is empty, of another kind, or lacks a header that can be understood.
    """
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
