"""`hutong upload`: upload a laboratory's file."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click
from hutong.type.v1.outcome_pb2 import OUTCOME_PENDING
from hutong_texts import list_words, tr

from hutong_client.cli.exit_codes import ExitCode, smallest
from hutong_client.cli.help import help_text
from hutong_client.cli.lock import Locked, hold_lock
from hutong_client.cli.options import ENCODING, ITEM, LAB, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json, say
from hutong_client.cli.profiles.columns import column_option, format_columns, parse_columns
from hutong_client.cli.profiles.profile import Profile, profile_option
from hutong_client.cli.uploads.files import complete_file, find_files, find_folder
from hutong_client.cli.uploads.journal import CannotResume, Journal, hash_file, lock_path
from hutong_client.cli.uploads.order import Order, open_journal
from hutong_client.cli.uploads.run import UploadRun, report_upload
from hutong_client.cli.uploads.source import Source, describe_read_only, open_source
from hutong_client.cli.watched.run import watch_folder
from hutong_client.cli.zones import parse_timezone, timezone_option
from hutong_client.errors import HutongError
from hutong_client.tables.columns.header import list_unknown, name_columns
from hutong_client.tables.columns.vocabulary import RESULTS
from hutong_client.tables.faults import BadCell
from hutong_client.tables.open import open_table
from hutong_client.tables.rejected.rejects import NotFree
from hutong_client.tables.rows import NotATable, Row, Table
from hutong_client.tables.times import has_zone
from hutong_client.tables.tubes import Reading
from hutong_client.tables.values import read_outcome
from hutong_client.upload import MAX_TUBES, UploadSession

_ROWS_LOOKED_AT = 50
"""Number of rows that are checked before an upload. If none of their times has a zone, --timezone is required."""


@click.command(cls=NodeCommand, example="day.xlsx --lab 91220502MA000LAB8G --timezone Asia/Shanghai --region 220502")
@click.argument("given", metavar="FILE...", nargs=-1, required=True, shell_complete=complete_file)
@profile_option
@click.option("--lab", type=LAB, help="The laboratory that made the file, labs/{uscc} or its code alone.")
@timezone_option(help_text("Zone of the times without one, as Asia/Shanghai. There is no default."))
@click.option(
    "--region", type=REGION, default="", help="GB/T 2260 code of the place of sampling, for rows without one."
)
@click.option("--encoding", type=ENCODING, default="", help="Encoding of a text file, as big5.  [default: detected]")
@click.option(
    "--item",
    "items",
    type=ITEM,
    multiple=True,
    help="An item that the file may hold besides nucleic acid of SARS-CoV-2, as sars-cov-2-antigen; repeatable.",
)
@column_option
@click.option("--resume", is_flag=True, help="Continue an interrupted upload of this file.")
@click.option(
    "--watch",
    is_flag=True,
    help="Upload the files of one folder as they come, until Ctrl-C: each complete file once, known by its content.",
)
@click.option("--once", is_flag=True, help="With --watch, end when every file of the folder was uploaded.")
@click.option(
    "--settle",
    "settle_seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="With --watch, the seconds for which a file must stay unchanged before it is read.",
)
@click.option("--validate-only", is_flag=True, help="Validate everything and store nothing.")
@click.option(
    "--rejects",
    "rejects_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file for rejected rows, a workbook if it ends with .xlsx; an existing file is never overwritten.  "
    "[default: FILE.rejects.csv, .xlsx for a workbook, .ndjson for NDJSON; if it exists, FILE.rejects.2.csv and so on]",
)
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder for the journal and the rejected rows, if that of FILE cannot be written.",
)
@click.option(
    "--batch-size", type=click.IntRange(1, MAX_TUBES), default=500, show_default=True, help="Tubes per batch."
)
@json_option
@click.pass_obj
def upload(
    node: Node,
    given: Sequence[str],
    profile: Profile,
    lab: str | None,
    timezone: str,
    region: str,
    encoding: str,
    items: Sequence[str],
    columns: Sequence[str],
    resume: bool,
    watch: bool,
    once: bool,
    settle_seconds: float,
    validate_only: bool,
    rejects_path: Path | None,
    work_dir: Path | None,
    batch_size: int,
    as_json: bool,
) -> ExitCode:
    """Upload each FILE: CSV, a workbook (.xlsx, .xls, .xlsb, .ods) or NDJSON, with a header in English or Chinese.

    Consecutive rows with the same tube_code are one tube. All visible sheets of a workbook are read. Rejected rows are
    written to another file of the same format with their faults; correct them there and upload that file.
    Uploading a file again stores nothing twice and keeps the earlier file of rejected rows. Exit code 3 means that rows
    were rejected.

    FILE may also be - for standard input, a folder, or a pattern such as "day*.xlsx". Each of several files is uploaded
    as if it were given alone, and a faulty one does not stop the others. The exit code is the smallest one that is not
    0.

    With --watch, FILE is one folder. A file is read when it has stayed unchanged for --settle seconds. What was sent is
    kept in the folder, by content, so that nothing is sent twice, also after a kill. An interrupted upload goes on.
    With --json, each file gets one line.
    """
    profile = profile.merge(lab=lab, timezone=timezone, region=region, encoding=encoding, items=items, columns=columns)
    if not profile.lab:
        raise click.UsageError(tr("give the laboratory with --lab, or a profile that names it with --profile"))
    node = profile.node(node)
    if watch and (validate_only or resume or rejects_path):
        raise click.UsageError(tr("--watch resumes by itself; give it without --resume, --validate-only and --rejects"))
    if once and not watch:
        raise click.UsageError(tr("give --once together with --watch"))
    if resume and validate_only:
        raise click.UsageError(tr("give either --resume or --validate-only; a dry run stores nothing to resume from"))
    files = [] if watch else find_files(given)
    if len(files) > 1 and rejects_path:
        raise click.UsageError(tr("give --rejects with one file only"))
    zone, vocabulary = parse_timezone(profile.timezone), parse_columns(profile.columns)
    reading = Reading(zone, profile.region, frozenset(profile.items), vocabulary)
    order = Order(
        profile.lab,
        profile.timezone,
        reading,
        profile.encoding,
        resume=resume or watch,
        unattended=watch,
        validate_only=validate_only,
        rejects_path=rejects_path,
        work_dir=work_dir,
        batch_size=batch_size,
    )
    if watch:
        folder = find_folder(given)
        upload_one = partial(_upload_file, node, order=order)
        return watch_folder(
            folder, order.lab, upload_one, once=once, settle_seconds=settle_seconds, as_json=as_json, work_dir=work_dir
        )
    if len(files) == 1:
        run = _upload_file(node, files[0], order)
        if isinstance(run, ExitCode):
            return run
        code = run.report(silent=as_json)
        if as_json:
            print_json({"file": str(files[0]), "exit_code": int(code), **run.outcome()})
        return code
    return _upload_files(node, files, order, as_json=as_json)


def _upload_files(node: Node, files: Sequence[Path], order: Order, *, as_json: bool) -> ExitCode:
    """Upload several files one after another. If the service is unavailable, the remaining files are not tried."""
    codes: list[ExitCode] = []
    outcomes: list[dict[str, Any]] = []
    for file in files:
        say(f"{file}:")
        code, outcome = report_upload(partial(_upload_file, node, file, order), silent=as_json)
        codes.append(code)
        outcomes.append({"file": str(file), "exit_code": int(code), **outcome})
        if code == ExitCode.NO_CONNECTION:
            break
    rest = files[len(codes) :]
    if rest:
        say(tr("hutong: not uploaded: {str}", str=list_words(map(str, rest))))
    if as_json:
        print_json({"files": outcomes, "not_uploaded": [str(file) for file in rest]})
    else:
        done = sum(code == ExitCode.DONE for code in codes)
        echo(
            tr(
                "{count} files: {done} without rejections, {value} with rejections or failures",
                count=len(files),
                done=done,
                value=len(files) - done,
            )
        )
    return smallest(codes)


def _upload_file(node: Node, file: Path, order: Order) -> UploadRun | ExitCode:
    """Upload one file and return its run. If another upload of the file is running, return an exit code."""
    with open_source(file, order.work_dir) as source:
        return _upload_source(node, source, order)


def _upload_source(node: Node, source: Source, order: Order) -> UploadRun | ExitCode:
    file, reading = source.file, order.reading
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
        column=",".join(format_columns(reading.vocabulary)),
    )
    validate_only = order.validate_only
    with ExitStack() as stack:
        try:
            if not validate_only:  # A dry run writes no journal, and the file may be in a read-only directory.
                stack.enter_context(hold_lock(lock_path(source.beside)))
            journal = open_journal(source, fresh, order)
        except Locked:
            say(tr("hutong: another upload of this file is running; run this command again when it has ended"))
            return ExitCode.RUNNING
        except (CannotResume, NotFree) as error:
            raise click.UsageError(str(error)) from None
        except OSError as error:
            if hint := describe_read_only(error, source.beside.parent):
                raise click.UsageError(hint) from None
            raise
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
        run = UploadRun(source, session, journal, validate_only)
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


def _check_table(file: Path, reading: Reading, encoding: str) -> Sequence[str]:
    """Check the first rows, so that a missing option or column is one error and not the cause of many rejections.

    Returns:
        The notices of the table, which the clerk reads before the file is sent.
    """
    with open_table(file, reading.vocabulary, encoding) as table:
        rows = list(islice(table, _ROWS_LOOKED_AT))
        if not rows:
            raise click.UsageError(tr("the file has a header and no rows; there is nothing to upload"))
        missing: list[str] = []
        if not reading.region and not _names(table, rows, "sample_region"):
            missing.append(
                tr("the file has no column sample_region (采样地区); or give the region of all samples with --region")
            )
        if not _names(table, rows, "report_date") and not all(map(_is_pending, rows)):
            unknown = list_unknown(table.header, _known(table)) if _known(table) else ""
            missing.append(
                tr(
                    "the file has no column report_date (报告时间); add it or give it that name{unknown}",
                    unknown=unknown,
                )
            )
        times = [cell for row in rows for name, cell in row.cells.items() if name in {"sample_date", "report_date"}]
        if reading.zone is None and times and not any(map(has_zone, times)):
            missing.append(tr("the times in the file have no zone; if they are China's, add --timezone Asia/Shanghai"))
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
    say(
        tr(
            "{value}: {message}; trying again in {seconds:.1f} s",
            value=error.reason or error.code.name,
            message=error.shown_message,
            seconds=seconds,
        )
    )
