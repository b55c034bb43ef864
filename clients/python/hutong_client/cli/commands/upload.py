"""`hutong upload`: upload a laboratory's file."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import tzinfo
from itertools import count, islice
from pathlib import Path
from typing import Any

import click
from hutong.type.v1.outcome_pb2 import OUTCOME_PENDING

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.failures import FAILURES, say_failure
from hutong_client.cli.journal import CannotResume, Journal, hash_file, journal_path, lock_path, read_journal
from hutong_client.cli.lock import Locked, hold_lock
from hutong_client.cli.options import ENCODING, ITEM, LAB, Node, NodeCommand, json_option
from hutong_client.cli.output import print_json, say
from hutong_client.cli.upload_files import find_files
from hutong_client.cli.upload_run import UploadRun
from hutong_client.errors import HutongError
from hutong_client.tables.columns import RESULTS, list_unknown, name_columns
from hutong_client.tables.faults import BadCell
from hutong_client.tables.open import detect_format, open_table
from hutong_client.tables.rejected.rejects import NotFree, choose_rejects_path, is_intact, part_path
from hutong_client.tables.rows import NotATable, Row, Table
from hutong_client.tables.times import has_zone, parse_zone
from hutong_client.tables.tubes import Reading
from hutong_client.tables.values import read_outcome
from hutong_client.upload import MAX_TUBES, UploadSession

_EXTENSIONS = {"ndjson": ".ndjson", "csv": ".csv", "xlsx": ".xlsx", "old": ".xlsx"}
"""The format of the rejects file by that of the uploaded file."""
_ROWS_LOOKED_AT = 50
"""Number of rows that are checked before an upload. If none of their times has a zone, --timezone is required."""


@click.command(cls=NodeCommand, example="day.xlsx --lab 91220502MA000LAB8G --timezone Asia/Shanghai --region 220502")
@click.argument("given", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--lab", type=LAB, required=True, help="The laboratory that made the file, labs/{uscc} or its code alone."
)
@click.option("--timezone", default="", help="Zone of the times without one, as Asia/Shanghai. There is no default.")
@click.option("--region", default="", help="GB/T 2260 code of the place of sampling, for rows without one.")
@click.option("--encoding", type=ENCODING, default="", help="Encoding of a text file, as big5.  [default: detected]")
@click.option(
    "--item",
    "items",
    type=ITEM,
    multiple=True,
    help="An item that the file may hold besides nucleic acid of SARS-CoV-2, as sars-cov-2-antigen; repeatable.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted upload of this file.")
@click.option("--validate-only", is_flag=True, help="Validate everything and store nothing.")
@click.option(
    "--rejects",
    "rejects_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file for rejected rows, a workbook if it ends with .xlsx; an existing file is never overwritten.  "
    "[default: FILE.rejects.csv, .xlsx for a workbook, .ndjson for NDJSON; if it exists, FILE.rejects.2.csv and so on]",
)
@click.option(
    "--batch-size", type=click.IntRange(1, MAX_TUBES), default=500, show_default=True, help="Tubes per batch."
)
@json_option
@click.pass_obj
def upload(
    node: Node,
    given: Sequence[str],
    lab: str,
    timezone: str,
    region: str,
    encoding: str,
    items: Sequence[str],
    resume: bool,
    validate_only: bool,
    rejects_path: Path | None,
    batch_size: int,
    as_json: bool,
) -> ExitCode:
    """Upload each FILE: CSV, a workbook (.xlsx, .xls, .xlsb, .ods) or NDJSON, with a header in English or Chinese.

    Consecutive rows with the same tube_code are one tube. All visible sheets of a workbook are read. Rejected rows are
    written to another file of the same format with their faults; correct them there and upload that file.
    Uploading a file again stores nothing twice and keeps the earlier file of rejected rows. Exit code 3 means that rows
    were rejected.

    FILE may also be a folder or a pattern such as "day*.xlsx". Each of several files is uploaded as if it were given
    alone, and a faulty one does not stop the others. The exit code is the smallest one that is not 0.
    """
    if resume and validate_only:
        raise click.UsageError("give either --resume or --validate-only; a dry run stores nothing to resume from")
    files = find_files(given)
    if len(files) > 1 and rejects_path:
        raise click.UsageError("give --rejects with one file only")
    order = _Order(lab, timezone, Reading(_parse_timezone(timezone), region, frozenset(items)), encoding)
    order = replace(order, resume=resume, validate_only=validate_only, rejects_path=rejects_path, batch_size=batch_size)
    if len(files) == 1:
        run = _upload_file(node, files[0], order)
        return run.report(as_json) if isinstance(run, UploadRun) else run
    return _upload_files(node, files, order, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Order:
    """The options of an upload, which are the same for all its files."""

    lab: str
    timezone: str
    reading: Reading
    encoding: str
    resume: bool = False
    validate_only: bool = False
    rejects_path: Path | None = None
    batch_size: int = MAX_TUBES


def _upload_files(node: Node, files: Sequence[Path], order: _Order, *, as_json: bool) -> ExitCode:
    """Upload several files one after another. If the service is unavailable, the remaining files are not tried."""
    codes: list[ExitCode] = []
    outcomes: list[dict[str, Any]] = []
    for file in files:
        say(f"{file}:")
        outcome: dict[str, Any] = {}
        try:
            run = _upload_file(node, file, order)
            code = run if isinstance(run, ExitCode) else run.report(as_json=False, silent=as_json)
            outcome = {} if isinstance(run, ExitCode) else run.outcome()
        except BrokenPipeError:
            raise
        except FAILURES as error:
            code = say_failure(error)
        codes.append(code)
        outcomes.append({"file": str(file), "exit_code": int(code), **outcome})
        if code == ExitCode.NO_CONNECTION:
            break
    rest = files[len(codes) :]
    if rest:
        say(f"hutong: not uploaded: {', '.join(map(str, rest))}")
    if as_json:
        print_json({"files": outcomes, "not_uploaded": [str(file) for file in rest]})
    else:
        done = sum(code == ExitCode.DONE for code in codes)
        click.echo(f"{len(files)} files: {done} without rejections, {len(files) - done} with rejections or failures")
    return min((code for code in codes if code), default=ExitCode.DONE)


def _upload_file(node: Node, file: Path, order: _Order) -> UploadRun | ExitCode:
    """Upload one file and return the run to report; the exit code if another upload of the file is running."""
    reading = order.reading
    notices = _check_table(file, reading, order.encoding)
    for notice in notices:
        say(notice)
    fresh = Journal(
        order.lab,
        order.timezone,
        reading.region,
        "",
        str(uuid.uuid4()),
        hash_file(file),
        encoding=order.encoding,
        item=",".join(sorted(reading.items)),
    )
    validate_only = order.validate_only
    with ExitStack() as stack:
        try:
            if not validate_only:  # A dry run writes no journal, and the file may be in a read-only directory.
                stack.enter_context(hold_lock(lock_path(file)))
            journal = _open_journal(file, fresh, order.rejects_path, resume=order.resume, dry_run=validate_only)
        except Locked:
            say("hutong: another upload of this file is running; run this command again when it has ended")
            return ExitCode.RUNNING
        except (CannotResume, NotFree) as error:
            raise click.UsageError(str(error)) from None
        connection = stack.enter_context(node.connect())
        session = UploadSession(
            connection.uploads,
            order.lab,
            journal.upload_id,
            validate_only=validate_only,
            items=sorted(reading.items),
            on_retry=_report_retry,
        )
        # Called before the upload, so that a wrong address fails at once and not after minutes of retries.
        session.get()
        run = UploadRun(file, session, journal, validate_only)
        run.notices = notices
        if not journal.finished:
            try:
                run.send(reading, order.batch_size)
            except (HutongError, KeyboardInterrupt):
                run.report_interruption()
                raise
            except NotATable:
                run.report_damage()
                raise
            except OSError as error:
                raise click.ClickException(run.describe_failure(error)) from error
        run.finish()
        return run


def _open_journal(file: Path, fresh: Journal, asked: Path | None, *, resume: bool, dry_run: bool) -> Journal:
    """Return the journal of this upload, with the path of its rejects file.

    With `resume`, the journal of the earlier run is returned if there is one. Otherwise `fresh` is returned.

    Raises:
        CannotResume: the journal or the rejects file of the earlier run does not match.
        NotFree: the requested path of the rejects file cannot be used.
    """
    if asked:
        fresh = replace(fresh, rejects=_name_beside(file, asked.resolve()))
    kept = read_journal(journal_path(file), fresh) if resume else None
    if kept:
        path = part_path(file.parent / kept.rejects)
        if kept.finished or is_intact(path, kept.rejects_bytes, kept.rejects_sha256):
            return _with_free_workbook(file, kept)
        if kept.rejected_rows:
            raise CannotResume(f"{path} is gone or was changed; upload the file without --resume")
    elif resume:
        say("There is no earlier upload of this file; a new one begins.")
    # A dry run has another name for its rejects file, so that it cannot overwrite the rejects file of an interrupted
    # upload.
    extension = _EXTENSIONS[detect_format(file)]
    path = choose_rejects_path(file, asked, ".trial.rejects" if dry_run else ".rejects", extension)
    if path == journal_path(file).resolve():
        raise NotFree(f"{asked} is the journal of the upload; name another file")
    return replace(kept or fresh, rejects=_name_beside(file, path), rejects_bytes=0, rejects_sha256="")


def _with_free_workbook(file: Path, kept: Journal) -> Journal:
    """Return the journal of an upload to resume, with a new name for the rejects file if its workbook exists already.

    The workbook exists if the upload was killed after writing it. A clerk may be correcting the rows in it.
    """
    path = file.parent / kept.rejects
    if kept.finished or part_path(path) == path or not path.exists():
        return kept
    free = next(path for number in count(2) if not (path := path.with_suffix(f".{number}.xlsx")).exists())
    part_path(file.parent / kept.rejects).rename(part_path(free))
    return replace(kept, rejects=_name_beside(file, free))


def _name_beside(file: Path, path: Path) -> str:
    """Return the path, or only its name if it is in the folder of the file, so that both can be moved together."""
    beside = path.parent.resolve() == file.parent.resolve()
    return path.name if beside else str(path)


def _parse_timezone(text: str) -> tzinfo | None:
    try:
        return parse_zone(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timezone") from None


def _check_table(file: Path, reading: Reading, encoding: str) -> Sequence[str]:
    """Check the first rows, so that a missing option or column is one error and not the cause of many rejections.

    Returns:
        The notices of the table, which the clerk reads before the file is sent.
    """
    with open_table(file, encoding=encoding) as table:
        rows = list(islice(table, _ROWS_LOOKED_AT))
        if not rows:
            raise click.UsageError("the file has a header and no rows; there is nothing to upload")
        missing: list[str] = []
        if not reading.region and not _names(table, rows, "sample_region"):
            missing.append(
                "the file has no column sample_region (采样地区); or give the region of all samples with --region"
            )
        if not _names(table, rows, "report_date") and not all(map(_is_pending, rows)):
            unknown = list_unknown(table.header, _known(table)) if _known(table) else ""
            missing.append(f"the file has no column report_date (报告时间); add it or give it that name{unknown}")
        times = [cell for row in rows for name, cell in row.cells.items() if name in {"sample_date", "report_date"}]
        if reading.zone is None and times and not any(map(has_zone, times)):
            missing.append("the times in the file have no zone; if they are China's, add --timezone Asia/Shanghai")
        if missing:
            raise click.UsageError("\n".join(missing))
        return table.notices


def _known(table: Table) -> dict[int, str]:
    return name_columns(table.header, RESULTS)


def _names(table: Table, rows: list[Row], column: str) -> bool:
    return column in _known(table).values() or any(column in row.cells for row in rows)


def _is_pending(row: Row) -> bool:
    """Check whether a row states that its result is pending. Such a row has no report time."""
    cell = row.cells.get("nat_result")
    try:
        return cell is None or read_outcome(cell, 1) == OUTCOME_PENDING
    except BadCell:
        return False


def _report_retry(error: HutongError, seconds: float) -> None:
    say(f"{error.reason or error.code.name}: {error.message}; trying again in {seconds:.1f} s")
