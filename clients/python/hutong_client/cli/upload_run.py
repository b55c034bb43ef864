"""What `hutong upload` does with a file once all its options are clear: send it, write down how far it came, report."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.journal import Journal, JournalWriter, journal_path
from hutong_client.cli.output import print_json, say
from hutong_client.tables.batches import Origin, gather, skip_tubes
from hutong_client.tables.layouts import Rejected, layout_of
from hutong_client.tables.open import open_table
from hutong_client.tables.rejects import RejectsFile, count_reasons, find_rejected
from hutong_client.tables.tubes import Reading, read_tubes
from hutong_client.upload import Batch, UploadSession

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(slots=True)
class Counts:
    """What became of the persons of a file."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


class UploadRun:
    """One run of `hutong upload` over a file."""

    def __init__(self, file: Path, session: UploadSession, journal: Journal, validate_only: bool) -> None:
        self._file = file
        self._rejects_path = file.parent / journal.rejects
        self._session = session
        self._journal = journal
        self._validate_only = validate_only
        self._counts = Counts()

    def send(self, reading: Reading, batch_size: int) -> None:
        """Send what is not acknowledged yet; rejected rows and the journal are written as answers come."""
        begun = self._journal.acknowledged_offset
        with ExitStack() as stack:
            table = stack.enter_context(open_table(self._file))
            rejects = stack.enter_context(
                RejectsFile(self._rejects_path, layout_of(table), self._journal.rejects_bytes)
            )
            writer = JournalWriter(
                None if self._validate_only else journal_path(self._file), self._journal, rejects.sync
            )
            progress = stack.enter_context(_progress(self._file))
            stack.callback(lambda: setattr(self, "_journal", writer.journal))
            stack.callback(writer.write)
            writer.write()
            unsent: list[Origin] = []
            items = skip_tubes(read_tubes(table, reading), begun)
            for sent in self._session.send(_sendable(gather(items, batch_size), unsent), begun):
                response = sent.response
                self._counts.accepted += response.accepted_count
                self._counts.duplicates += response.duplicate_count
                offset = sent.offset + len(sent.batch.tubes)
                self._keep(find_rejected(sent.batch.note, response.rejections), rejects, writer, offset)
                progress.update(progress.task_ids[0], completed=sent.batch.note.tubes[-1].rows[-1].number)
            for origin in unsent:
                self._keep(find_rejected(origin, ()), rejects, writer, writer.journal.acknowledged_offset)
            writer.finish()

    def tell_interruption(self) -> None:
        """Say how to go on, if there is anything to go on from."""
        tubes = self._journal.acknowledged_offset
        if tubes and not self._validate_only:
            say(f"Interrupted: {tubes} tubes are stored. The same command with --resume goes on from there.")

    def tell_damage(self) -> None:
        """Say what is stored of a file that turned out to be damaged; mended it is another file, and not to resume."""
        tubes = self._journal.acknowledged_offset
        if tubes and not self._validate_only:
            say(f"{tubes} tubes above it are stored. Upload the mended file without --resume: nothing is stored twice.")

    def describe_failure(self, error: OSError) -> str:
        """What to do when a file could not be read or written in the midst of the upload."""
        if error.errno in _FULL:
            told = f"there is no room left in {self._rejects_path.parent} for rejected rows and the upload's progress"
        else:
            told = f"{error.filename or self._file}: {error.strerror or error}"
        if self._validate_only:
            return f"{told}; mend that and give the same command again"
        return f"{told}; mend that and give the same command with --resume: what is stored is not sent again"

    def report(self, as_json: bool) -> ExitCode:
        """Tell what became of the file."""
        journal, counts = self._journal, self._counts
        stored = None if self._validate_only else self._session.get()
        if stored:
            # Batches that were sent twice count once in the service's own sums.
            counts = Counts(stored.accepted_count, stored.duplicate_count)
        counts.rejected = journal.rejected_rows
        rejects = str(self._rejects_path) if counts.rejected else ""
        if as_json:
            print_json(
                {
                    "upload": "" if self._validate_only else self._session.name,
                    "validate_only": self._validate_only,
                    "accepted": counts.accepted,
                    "duplicates": counts.duplicates,
                    "rejected": counts.rejected,
                    "rejected_by_reason": journal.rejected_by_reason,
                    "rejects_file": rejects,
                }
            )
        else:
            would = "would be " if self._validate_only else ""
            click.echo(f"{would}accepted {counts.accepted}, duplicates {counts.duplicates}, rejected {counts.rejected}")
            for reason, rows in journal.rejected_by_reason.items():
                click.echo(f"  {reason:24}{rows}")
            if rejects:
                click.echo(f"The rejected rows and their reasons are in {rejects}")
        return ExitCode.PARTLY if counts.rejected else ExitCode.DONE

    @staticmethod
    def _keep(rejected: list[Rejected], rejects: RejectsFile, writer: JournalWriter, offset: int) -> None:
        rejects.write(rejected)
        writer.note(offset, count_reasons(rejected), len(rejected))


def _sendable(batches: Iterator[Batch[Origin]], unsent: list[Origin]) -> Iterator[Batch[Origin]]:
    """The batches that have tubes; rows after the last tube are put aside."""
    for batch in batches:
        if batch.tubes:
            yield batch
        else:
            unsent.append(batch.note)


def _progress(file: Path) -> Progress:
    """A bar on standard error; none where nobody looks."""
    console = Console(stderr=True)
    progress: Any = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    progress.add_task(file.name, total=_count_lines(file) if console.is_terminal else None)
    return progress  # type: ignore[no-any-return]


def _count_lines(file: Path) -> int | None:
    """About how many rows a text file has; None for a workbook, of which that cannot be told without reading it."""
    with file.open("rb") as content:
        if content.read(2) == b"PK":
            return None
        return sum(chunk.count(b"\n") for chunk in iter(lambda: content.read(1 << 20), b""))
