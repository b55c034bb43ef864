"""`hutong upload`: a laboratory's file, row by row, to the node."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import replace
from datetime import tzinfo
from itertools import islice
from pathlib import Path

import click

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.journal import CannotResume, Journal, hash_file, journal_path, lock_path, read_journal
from hutong_client.cli.lock import Locked, hold_lock
from hutong_client.cli.options import LAB, Node, NodeCommand, json_option
from hutong_client.cli.output import say
from hutong_client.cli.upload_run import UploadRun
from hutong_client.errors import HutongError
from hutong_client.tables.columns import RESULTS
from hutong_client.tables.open import detect_format, open_table
from hutong_client.tables.rejects import NotFree, choose_place, is_intact
from hutong_client.tables.rows import NotATable, Row, Table
from hutong_client.tables.times import has_zone, parse_zone
from hutong_client.tables.tubes import Reading
from hutong_client.upload import MAX_TUBES, UploadSession

_ROWS_LOOKED_AT = 50
"""If none of so many rows' times has a zone, the file has none, and nothing is sent before the clerk has said which."""


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
    help="Where rejected rows go; never over a file that is there.  [default: FILE.rejects.csv, or .ndjson as FILE is; "
    "or .rejects.2.csv and so on]",
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
    wrong with each, NDJSON where FILE is; mend them there and upload that file. Uploading a file again stores nothing
    twice, and leaves the rejected rows of the time before where they are. Exit code 3 says that rows were rejected.
    """
    if resume and validate_only:
        raise click.UsageError("--resume and --validate-only exclude one another: a trial has nothing to go on from")
    zone = _parse_timezone(timezone)
    _check_table(file, zone, region)
    fresh = Journal(lab, timezone, region, "", str(uuid.uuid4()), hash_file(file))
    with ExitStack() as stack:
        try:
            if not validate_only:  # A trial writes no journal, and its file may lie where nothing can be written.
                stack.enter_context(hold_lock(lock_path(file)))
            journal = _take_up(file, fresh, rejects_path, resume=resume, trial=validate_only)
        except Locked:
            say("hutong: another upload of this file is running; when it has ended this one can be given again")
            return ExitCode.RUNNING
        except (CannotResume, NotFree) as error:
            raise click.UsageError(str(error)) from None
        connection = stack.enter_context(node.connect())
        session = UploadSession(
            connection.uploads, lab, journal.upload_id, validate_only=validate_only, on_retry=_tell_retry
        )
        # Asked first, so that a wrong address fails at once and not after minutes of retries.
        session.get()
        run = UploadRun(file, session, journal, validate_only)
        if not journal.finished:
            try:
                run.send(Reading(zone, region), batch_size)
            except (HutongError, KeyboardInterrupt):
                run.tell_interruption()
                raise
            except NotATable:
                run.tell_damage()
                raise
            except OSError as error:
                raise click.ClickException(run.describe_failure(error)) from error
        return run.report(as_json)


def _take_up(file: Path, fresh: Journal, asked: Path | None, *, resume: bool, trial: bool) -> Journal:
    """The journal to go on with, its place of rejected rows settled.

    Raises:
        CannotResume: what is there of an earlier run does not fit.
        NotFree: rejected rows cannot go where they were asked to.
    """
    if asked:
        fresh = replace(fresh, rejects=_as_seen_from(file, asked.resolve()))
    kept = read_journal(journal_path(file), fresh) if resume else None
    if kept:
        place = file.parent / kept.rejects
        if kept.finished or is_intact(place, kept.rejects_bytes, kept.rejects_sha256):
            return kept
        if kept.rejected_rows:
            raise CannotResume(f"{place} is gone or was changed; upload the file without --resume")
    elif resume:
        say("No upload of this file was begun; it begins now.")
    # A trial must not touch what an interrupted upload will go on with.
    extension = ".ndjson" if detect_format(file) == "ndjson" else ".csv"
    place = choose_place(file, asked, ".trial.rejects" if trial else ".rejects", extension)
    if place == journal_path(file).resolve():
        raise NotFree(f"{asked} is where the upload's progress is kept; name another file")
    return replace(kept or fresh, rejects=_as_seen_from(file, place), rejects_bytes=0, rejects_sha256="")


def _as_seen_from(file: Path, place: Path) -> str:
    """A place's name when it is beside the file, so that both can be moved together; else its whole path."""
    beside = place.parent.resolve() == file.parent.resolve()
    return place.name if beside else str(place)


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
    return column in map(RESULTS.find, table.header) or any(column in row.cells for row in rows)


def _tell_retry(error: HutongError, seconds: float) -> None:
    say(f"{error.reason or error.code.name}: {error.message}; trying again in {seconds:.1f} s")
