"""Write the rows of a file of people with their verdicts to a workbook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hutong_texts import english, tr
from openpyxl import Workbook
from openpyxl.styles import Font, NamedStyle, PatternFill
from openpyxl.utils import get_column_letter

from hutong_client.cli.gate.verdicts import STYLES, Action, Verdict, action_word
from hutong_client.cli.people import Asked
from hutong_client.private_files import open_privately
from hutong_client.tables.rejected.workbook import text_cell

_TITLES = (
    english("row"),
    english("action"),
    english("then"),
    english("outcome"),
    english("reason"),
    english("to do"),
    english("decision"),
)
_WIDTHS = (8, 20, 12, 44, 44, 44, 20)
_OWN_WIDTH = 20
_TITLE, _TEXT = "title", "own"
"""Names of the styles of titles and of cells without a colour."""


class Report:
    """A workbook under construction. Rows are written as they are added, so memory does not grow with the file."""

    def __init__(self, header: Sequence[str]) -> None:
        self._book = Workbook(write_only=True)
        for name, colour, bold in ((_TITLE, "D9D9D9", True), (_TEXT, "", False)):
            self._add_style(name, colour, bold)
        for action, style in STYLES.items():
            self._add_style(_style_of(action), style.workbook, bold=True)
        self._sheet: Any = self._book.create_sheet(tr("people"))
        self._sheet.freeze_panes = "A2"
        for at, width in enumerate((*_WIDTHS, *(_OWN_WIDTH for _ in header)), start=1):
            self._sheet.column_dimensions[get_column_letter(at)].width = width
        self._append(self._sheet, ((title, _TITLE) for title in (*map(tr, _TITLES), *header)))

    def add(self, asked: Asked, verdict: Verdict) -> None:
        """Add a row with the cells of the verdict, followed by the cells of the file's row."""
        style = _style_of(verdict.action) if verdict.action in STYLES else _TEXT
        register = tr("register") if verdict.must_register else ""
        own = (str(asked.row), verdict.word, verdict.then or register, verdict.outcome, verdict.why, verdict.to_do)
        cells = (*own, verdict.stored, *asked.cells)
        self._append(self._sheet, ((text, style if at == 1 else _TEXT) for at, text in enumerate(cells)))

    def add_totals(self, totals: Iterable[tuple[Action, int]]) -> None:
        """Add a sheet with the number of people for each action."""
        sheet: Any = self._book.create_sheet(tr("totals"))
        sheet.column_dimensions["A"].width = _WIDTHS[1]
        for action, count in totals:
            word = text_cell(sheet, action_word(action), _style_of(action) if action in STYLES else _TEXT)
            sheet.append([word, count])

    def add_interruption(self) -> None:
        """Add a last row that says that people are missing."""
        text = tr("The answers end here, because the command was interrupted. The people below were not asked.")
        self._append(self._sheet, [(text, _TITLE)])

    def save(self, file: IO[bytes]) -> None:
        """Write the workbook to an open file."""
        self._book.save(file)

    def _add_style(self, name: str, colour: str, bold: bool) -> None:
        fill = PatternFill("solid", fgColor=colour) if colour else PatternFill()
        self._book.add_named_style(NamedStyle(name, Font(bold=bold), fill, number_format="@"))

    @staticmethod
    def _append(sheet: Any, cells: Iterable[tuple[str, str]]) -> None:
        sheet.append([text_cell(sheet, text, style) for text, style in cells])


@contextmanager
def write_report(path: Path, header: Sequence[str]) -> Iterator[Report]:
    """Write a new workbook when the block ends. If it ends with an error, the workbook says that people are missing.

    Only the file's owner can read it.

    Raises:
        FileExistsError: the path exists already.
        OSError: the workbook cannot be written. If the file cannot be created, this is raised before the block runs.
    """
    with open(path, "xb", opener=open_privately) as file:
        report = Report(header)
        try:
            yield report
        except BaseException:
            report.add_interruption()
            raise
        finally:
            report.save(file)


def _style_of(action: Action) -> str:
    return f"action {action}"
