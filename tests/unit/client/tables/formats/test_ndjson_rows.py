"""Rows of NDJSON: a faulty line costs its own row alone."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.client.laboratory_files import (
    CARDS,
    line,
    read_rows,
    write_file,
)


def test_faulty_first_line_of_ndjson_is_a_fault_of_its_row(tmp_path: Path) -> None:
    """The others are read."""
    good = json.dumps(line(1), ensure_ascii=False)
    rows = read_rows(write_file(tmp_path / "day.ndjson", f"{{broken\n{good}\n".encode()))
    assert [(row.number, bool(row.fault)) for row in rows] == [(1, True), (2, False)]


def test_endless_brackets_are_a_fault_of_their_line(tmp_path: Path) -> None:
    """The lines above and below it are read."""
    good = json.dumps(line(1), ensure_ascii=False)
    rows = read_rows(
        write_file(tmp_path / "day.ndjson", "\n".join([good, "[" * 100_000, '{"a":' * 100_000, good]).encode())
    )
    assert [bool(row.fault) for row in rows] == [False, True, True, False]


def test_ndjson_keeps_long_numbers(tmp_path: Path) -> None:
    """Eighteen digits without quotation marks would not survive a float; a bad line is a fault of its row."""
    good = json.dumps(line(1), ensure_ascii=False).replace(f'"{CARDS[1]}"', CARDS[1])
    text = "\n".join([good, "{broken", '{"report_no": ["R1"]}', "", '{"report_no": "R\\ud800"}', good])
    rows = read_rows(write_file(tmp_path / "day.ndjson", text.encode()))
    assert [row.number for row in rows] == [1, 2, 3, 5, 6]
    assert rows[0].cells["card_no"] == CARDS[1]
    assert [bool(row.fault) for row in rows] == [False, True, True, True, False]
    assert rows[1].original == ("{broken",)
