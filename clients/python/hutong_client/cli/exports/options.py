"""The options `--csv` and `--xlsx`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from hutong_texts import tr

from hutong_client.cli.exports.files import write_csv, write_xlsx
from hutong_client.cli.exports.sheet import Sheet
from hutong_client.cli.output import say

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Exports:
    """The files to which a command writes its tables in place of printing them."""

    csv_path: Path | None
    xlsx_path: Path | None

    def __bool__(self) -> bool:
        """Return whether any file was asked for."""
        return bool(self.csv_path or self.xlsx_path)

    def write(self, sheet: Sheet, *others: Sheet) -> None:
        """Write the files that were asked for, and print their paths. A CSV file has the first sheet alone.

        Raises:
            OSError: a file cannot be written.
        """
        if self.csv_path:
            write_csv(self.csv_path, sheet)
            say(tr("The table is in {path}", path=self.csv_path))
        if self.xlsx_path:
            write_xlsx(self.xlsx_path, (sheet, *others))
            say(tr("The table is in {path}", path=self.xlsx_path))


def export_options(command: Command) -> Command:
    """Add `--csv` and `--xlsx` to a command, which receives both as `exports`. `--json` cannot be given with them."""

    @functools.wraps(command)
    def call(*args: Any, csv_path: Path | None, xlsx_path: Path | None, **kwargs: Any) -> Any:
        exports = Exports(csv_path, xlsx_path)
        if exports and kwargs.get("as_json"):
            raise click.UsageError(tr("--json prints the answer; give it without --csv and --xlsx"))
        return command(*args, exports=exports, **kwargs)

    path = click.Path(dir_okay=False, writable=True, path_type=Path)
    for option in (
        click.option("--xlsx", "xlsx_path", type=path, help="Write the table as a workbook to this file instead."),
        click.option("--csv", "csv_path", type=path, help="Write the table as CSV to this file instead."),
    ):
        call = option(call)
    return call  # type: ignore[return-value]
