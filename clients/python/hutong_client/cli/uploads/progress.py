"""A progress bar on standard error, with the rate and the time left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from hutong_texts import escape_controls, tr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from hutong_client.tables.open import detect_format

_CHUNK = 1 << 20
_BEGINNING = 4096
"""Number of bytes at a sheet's beginning that are searched for the sheet's size. The size stands before the first
row."""
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_SIZE = re.compile(rb'<(?:\w+:)?dimension [^>]*ref="[A-Z]+\d+:[A-Z]+(\d+)"')


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """Return the rate; an empty text while it is not known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")


def show_progress(name: str, file: Path) -> Progress:
    """Return a progress bar for the rows of a file. It is disabled if standard error is not a terminal."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(tr("rows")),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
    progress.add_task(escape_controls(name), total=count_rows(file) if console.is_terminal else None)
    return progress


def count_rows(file: Path) -> int | None:
    """Return about how many rows a file has: its lines, or the sizes that the sheets of an .xlsx state.

    Returns:
        None if the number cannot be known without reading the workbook.
    """
    kind = detect_format(file)
    if kind == "old":
        return None
    if kind != "xlsx":
        with file.open("rb") as content:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: content.read(_CHUNK), b""))
    try:
        with ZipFile(file) as archive:
            parts = [name for name in archive.namelist() if _SHEET.fullmatch(name)]
            sizes = [_SIZE.search(_read_beginning(archive, name)) for name in parts]
    except Exception:  # noqa: BLE001 - zipfile raises errors of any type for damaged files
        return None
    return sum(int(size[1]) for size in sizes if size) if sizes and all(sizes) else None


def _read_beginning(archive: Any, name: str) -> bytes:
    with archive.open(name) as part:
        return bytes(part.read(_BEGINNING))
