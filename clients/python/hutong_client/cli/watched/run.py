"""Run `hutong upload --watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
from hutong_texts import escape_controls, tr
from watchfiles import watch

from hutong_client.cli.exit_codes import ExitCode, smallest
from hutong_client.cli.lock import Locked, hold_lock
from hutong_client.cli.output import echo, print_json_line, say
from hutong_client.cli.uploads.files import say_left_out
from hutong_client.cli.uploads.run import NOTHING_UPLOADED, UploadRun, report_upload
from hutong_client.cli.uploads.source import describe_read_only
from hutong_client.cli.watched.folder import Outcome, WatchedFolder
from hutong_client.cli.watched.ledger import NAME, Ledger

LOCK = ".hutong-watch.lock"
_LOOK_MILLISECONDS = 1_000
"""The folder is looked at this often even without a notification, because network folders give none."""


def watch_folder(
    folder: Path,
    lab: str,
    upload: Callable[[Path], UploadRun | ExitCode],
    *,
    once: bool,
    settle_seconds: float,
    as_json: bool,
    work_dir: Path | None = None,
) -> ExitCode:
    """Upload the complete files of a folder as they come, until Ctrl-C.

    Args:
        folder: the folder.
        lab: the laboratory.
        upload: uploads a file, going on where an interrupted upload of it ended.
        once: whether to end when no file waits any more, or when the service cannot be reached.
        settle_seconds: how long a file must stay unchanged before it is read.
        as_json: whether to print one line of JSON for each file.
        work_dir: the folder for the record of what was sent; None for the folder itself.
    """
    own = work_dir or folder
    codes: list[ExitCode] = []

    def send(file: Path) -> Outcome:
        if not as_json:
            echo(f"{escape_controls(file.name)}:")
        return Outcome(*report_upload(partial(upload, file), silent=as_json))

    def report(file: Path, outcome: Outcome) -> None:
        codes.append(outcome.code)
        if as_json:
            line: dict[str, Any] = {"file": str(file), "exit_code": int(outcome.code), "sent_as": outcome.sent_as}
            print_json_line({**line, **NOTHING_UPLOADED, **outcome.content})
        elif outcome.sent_as:
            echo(
                tr(
                    "{file}: not sent again; the same content was sent as {name}",
                    file=Path(file.name),
                    name=outcome.sent_as,
                )
            )

    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(own / LOCK))
        except Locked:
            say(tr("hutong: another command watches this folder"))
            return ExitCode.RUNNING
        except OSError as error:
            if hint := describe_read_only(error, own):
                raise click.UsageError(hint) from None
            raise
        watched = WatchedFolder(folder, Ledger(own / NAME, lab), send, report, settle_seconds)
        say(tr("Watching {folder}; Ctrl-C ends it", folder=folder))
        named: set[Path] = set()
        for _ in _changes(folder):
            say_left_out(folder, named)
            waits = watched.look()
            if once and (not waits or ExitCode.NO_CONNECTION in codes):
                return smallest(codes)
    return ExitCode.DONE


def _changes(folder: Path) -> Iterator[None]:
    """Yield at once, then whenever files change and every second."""
    yield
    for _ in watch(folder, recursive=False, rust_timeout=_LOOK_MILLISECONDS, yield_on_timeout=True):
        yield
