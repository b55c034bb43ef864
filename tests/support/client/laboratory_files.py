"""Makes small files of a laboratory."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from hutong_client.tables.open import open_table
from hutong_client.tables.rows import Row
from openpyxl import Workbook

HEADER = (
    "name",
    "card_no",
    "card_type",
    "sample_date",
    "report_date",
    "nat_result",
    "report_no",
    "tube_code",
    "pool_size",
    "sample_region",
)
CARDS = ("410105186001010019", "220502187003030031", "450403188009090041")


def line(number: int = 1, **changes: str) -> dict[str, str]:
    """Return a valid row with its own tube. Keywords replace columns."""
    row = {
        "name": "赵示例",
        "card_no": CARDS[number % len(CARDS)],
        "card_type": "居民身份证",
        "sample_date": "2022-08-09T06:00:00+08:00",
        "report_date": "2022-08-09T12:00:00+08:00",
        "nat_result": "阴性",
        "report_no": f"R{number:05}",
        "tube_code": f"T{number:05}",
        "pool_size": "1",
        "sample_region": "220502",
    }
    return row | changes


def as_csv(rows: Iterable[Mapping[str, str]], header: Sequence[str] = HEADER) -> str:
    """Return the rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, rows: Iterable[Mapping[str, str]], header: Sequence[str] = HEADER) -> Path:
    """Write the rows to a CSV file."""
    path.write_text(as_csv(rows, header), encoding="utf-8", newline="")
    return path


def write_workbook(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """Write the rows to a workbook."""
    book = Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.save(path)
    return path


def damage_workbook(path: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    """Change one part of a workbook, as a faulty disk or an interrupted program would. The archive stays valid."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def write_file(path: Path, content: bytes) -> Path:
    """Write bytes to a file."""
    path.write_bytes(content)
    return path


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a laboratory's file."""
    with open_table(path) as table:
        return list(table)
