"""Open a file of rows by its content: CSV, NDJSON or a workbook."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

from hutong_texts import english, tr

from hutong_client.tables.columns.vocabulary import RESULTS, Vocabulary
from hutong_client.tables.formats.csv_rows import open_csv
from hutong_client.tables.formats.ndjson_rows import open_ndjson
from hutong_client.tables.formats.old_marks import OLE
from hutong_client.tables.formats.old_workbooks import open_old_workbook
from hutong_client.tables.formats.xlsx_rows import open_xlsx
from hutong_client.tables.rows import NotATable, Table

Format = Literal["csv", "ndjson", "xlsx", "old"]
"""The formats that can be read; "old" is a workbook of .xls, .xlsb or .ods."""
_OTHER_KINDS = {
    b"%PDF": english("a PDF"),
    b"\x89PNG": english("a picture"),
    b"\xff\xd8\xff": english("a picture"),
    b"GIF8": english("a picture"),
    b"RIFF": english("a picture"),
    b"{\\rtf": english("a text document (RTF)"),
    b"<": english("a web page or XML"),
}
_JSON_OF_SEVERAL_LINES = re.compile(rb"\[\s*\{|\{\s*\n")
_ARCHIVES = (b"PK\x05\x06", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")


def open_table(path: Path, vocabulary: Vocabulary | None = None, encoding: str = "") -> AbstractContextManager[Table]:
    """Open a file by its content.

    Args:
        path: the file.
        vocabulary: the columns of the file; None for the columns of a laboratory's results. NDJSON is always read with
            the columns of results.
        encoding: the encoding of a text file; empty to detect it.

    Raises:
        NotATable: the file is empty, has another format, or lacks a known header.
    """
    match detect_format(path):
        case "ndjson":
            return open_ndjson(path, encoding)
        case "xlsx":
            return open_xlsx(path, vocabulary or RESULTS)
        case "old":
            return open_old_workbook(path, vocabulary or RESULTS)
        case "csv":
            return open_csv(path, vocabulary or RESULTS, encoding)


def detect_format(path: Path) -> Format:
    """Detect a file's format by its content. The name only decides between NDJSON and CSV.

    Raises:
        NotATable: the file is empty or has another format.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise NotATable(tr("the file is empty"))
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, kind in _OTHER_KINDS.items():
        if text.startswith(magic):
            raise NotATable(tr("the file is {kind}; save it as .xlsx or as CSV UTF-8 and give that", kind=kind))
    if start.startswith(_ARCHIVES):
        raise NotATable(tr("the file is an archive; unpack it and give the table inside"))
    if start.startswith(OLE):
        return "old"
    if start.startswith(b"PK\x03\x04"):
        return "old" if _is_old_workbook(path) else "xlsx"
    if _JSON_OF_SEVERAL_LINES.match(text):
        raise NotATable(
            tr("the file is JSON over several lines; write one {...} per line, with the columns as its keys")
        )
    if path.suffix.lower() in {".ndjson", ".jsonl"} or text.startswith(b"{"):
        return "ndjson"
    return "csv"


def _is_old_workbook(path: Path) -> bool:
    """Check whether an archive is a workbook of .xlsb or .ods."""
    try:
        with ZipFile(path) as archive:
            return not {"xl/workbook.bin", "content.xml"}.isdisjoint(archive.namelist())
    except (BadZipFile, OSError, ValueError):
        return False
