"""`hutong upload`: a laboratory's file, row by row, to the node."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hutong_client.display import print_json, say
from hutong_client.errors import HutongError
from hutong_client.exit_codes import ExitCode
from hutong_client.journal import (
    CannotResume,
    Journal,
    JournalWriter,
    hash_file,
    journal_path,
    read_journal,
)
from hutong_client.options import LAB, Node, NodeCommand, json_option
from hutong_client.tables.batches import Origin, gather, skip_tubes
from hutong_client.tables.columns import find_column
from hutong_client.tables.rejects import Rejected, RejectsFile, count_reasons, find_rejected
from hutong_client.tables.rows import Row, Table, open_table
from hutong_client.tables.times import has_zone, parse_zone
from hutong_client.tables.tubes import Reading, read_tubes
from hutong_client.upload import MAX_TUBES, Batch, UploadSession

_ROWS_LOOKED_AT = 50
"""If none of so many rows' times has a zone, the file has none, and nothing is sent before the clerk has said which."""


@dataclass(slots=True)
class Counts:
    """What became of the persons of a file."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


@click.command(cls=NodeCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--lab", type=LAB, required=True, help="The laboratory whose file it is, labs/{uscc} or its code alone.")
@click.option("--timezone", default="", help="The zone of times that name none, as Asia/Shanghai. Never assumed.")
@click.option("--region", default="", help="GB/T 2260 code of the place of sampling, for rows that name none.")
@click.option("--resume", is_flag=True, help="Go on with this file's upload where it was interrupted.")
@click.option("--validate-only", is_flag=True, help="Have everything judged and nothing stored.")
@click.option(
    "--rejects",
    "rejects_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rejected rows go.  [default: FILE.rejects.csv]",
)
@click.option("--batch-size", type=click.IntRange(1, MAX_TUBES), default=500, show_default=True, help="Tubes a batch.")
@json_option
@click.pass_obj
def upload(
    node: Node,
    file: Path,
    lab: str,
    timezone: str,
    region: str,
    resume: bool,
    validate_only: bool,
    rejects_path: Path | None,
    batch_size: int,
    as_json: bool,
) -> ExitCode:
    """Upload FILE: CSV, XLSX or NDJSON, with a header in English or Chinese.

    Rows that stand together and share a tube_code are one tube. Rejected rows go to a file of their own with what is
    wrong with each; mend them there and upload that file. Uploading a file again stores nothing twice. Exit code 3
    says that rows were rejected.
    """
    if resume and validate_only:
        raise click.UsageError("--resume and --validate-only exclude one another: a trial has nothing to go on from")
    zone = _parse_timezone(timezone)
    _check_table(file, zone, region)
    # A trial must not touch what an interrupted upload will go on with.
    suffix = ".trial.rejects.csv" if validate_only else ".rejects.csv"
    rejects_path = rejects_path or file.with_name(file.name + suffix)
    fresh = Journal(lab, timezone, region, str(rejects_path), str(uuid.uuid4()), hash_file(file))
    try:
        kept = read_journal(journal_path(file), fresh) if resume else None
        if kept and kept.rejects_bytes and not _has_bytes(rejects_path, kept.rejects_bytes):
            raise CannotResume(f"{rejects_path} is gone or was changed; upload the file without --resume")
    except CannotResume as error:
        raise click.UsageError(str(error)) from None
    if resume and not kept:
        say("No upload of this file was begun; it begins now.")
    with node.connect() as connection:
        session = UploadSession(
            connection.uploads, lab, (kept or fresh).upload_id, validate_only=validate_only, on_retry=_tell_retry
        )
        # Asked first, so that a wrong address is known at once and not after minutes of patience.
        session.get()
        run = _Run(file, rejects_path, session, kept or fresh, validate_only)
        if not (kept and kept.finished):
            try:
                run.send(Reading(zone, region), batch_size)
            except (HutongError, KeyboardInterrupt):
                run.tell_interruption()
                raise
        return run.report(as_json)


class _Run:
    """One run of the command over a file."""

    def __init__(
        self, file: Path, rejects_path: Path, session: UploadSession, journal: Journal, validate_only: bool
    ) -> None:
        self._file = file
        self._rejects_path = rejects_path
        self._session = session
        self._journal = journal
        self._validate_only = validate_only
        self._counts = Counts()

    def send(self, reading: Reading, batch_size: int) -> None:
        """Send what is not acknowledged yet; rejected rows and the journal are written as answers come."""
        begun = self._journal.acknowledged_offset
        with ExitStack() as stack:
            table = stack.enter_context(open_table(self._file))
            rejects = stack.enter_context(RejectsFile(self._rejects_path, table.header, self._journal.rejects_bytes))
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


def _parse_timezone(text: str) -> tzinfo | None:
    try:
        return parse_zone(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timezone") from None


def _check_table(file: Path, zone: tzinfo | None, region: str) -> None:
    """Look at the first rows, so that a clerk need not learn from 20,000 rejections that an option was missing."""
    with open_table(file) as table:
        rows = list(islice(table, _ROWS_LOOKED_AT))
        if not rows:
            raise click.UsageError("the file has a header and no rows; there is nothing to upload")
        if not region and not _names(table, rows, "sample_region"):
            raise click.UsageError(
                "the file has no column sample_region (采样地区); add it, or say with --region where all was sampled"
            )
        times = [cell for row in rows for name, cell in row.cells.items() if name in {"sample_date", "report_date"}]
        if zone is None and times and not any(map(has_zone, times)):
            raise click.UsageError(
                "the times in the file have no zone; if they are China's, add --timezone Asia/Shanghai"
            )


def _names(table: Table, rows: list[Row], column: str) -> bool:
    return column in map(find_column, table.header) or any(column in row.cells for row in rows)


def _has_bytes(path: Path, count: int) -> bool:
    return path.exists() and path.stat().st_size >= count


def _tell_retry(error: HutongError, seconds: float) -> None:
    say(f"{error.reason or error.code.name}: {error.message}; trying again in {seconds:.1f} s")


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
