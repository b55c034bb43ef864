"""`hutong verify`: decide whether a person's result is recognised in a region, for a purpose, at an instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import tzinfo
from functools import cache
from itertools import islice
from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.results.v1 import lookup_pb2
from hutong.type.v1 import identity_pb2, purpose_pb2
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    VerifyItem,
    VerifyRequest,
)
from hutong_texts import tr

from hutong_client.cli.evidence import evidence_option
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import exit_code_of, explain
from hutong_client.cli.failures import describe_error
from hutong_client.cli.gate.answers import Answers, Keep, color_word, describe_rows
from hutong_client.cli.gate.report import write_report
from hutong_client.cli.help import help_text
from hutong_client.cli.options import (
    ENCODING,
    INSTANT,
    PURPOSE,
    REGION,
    Node,
    NodeCommand,
    document_options,
    json_option,
    read_secret,
)
from hutong_client.cli.output import echo, echo_raw, print_json, say
from hutong_client.cli.people import open_people, read_line, read_lines
from hutong_client.cli.uploads.files import complete_file
from hutong_client.cli.uploads.progress import show_progress
from hutong_client.cli.uploads.source import open_readable
from hutong_client.cli.zones import parse_timezone, timezone_option
from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.errors import HutongError
from hutong_client.formatting import SHANGHAI
from hutong_client.gate_stream import GateStream

_BATCH = 500
"""The service's limit of questions in one call."""
_TITLE_SECONDS = 2.0
"""Timeout for reading a policy's title. The title is optional, so it must not delay the answer for longer."""


@click.command(
    cls=NodeCommand,
    former={"--record": "--store-decision"},
    example="--number - --region 410105 --purpose hotel --arriving-from 220500",
)
@click.argument("people", required=False, shell_complete=complete_file)
@document_options(needed=False)
@click.option(
    "--token",
    "shown",
    default="",
    help="The token that the holder shows, instead of --number; - reads it from standard input.",
)
@click.option("--region", type=REGION, default="", help="The region that checks, GB/T 2260; its window counts.")
@click.option("--purpose", type=PURPOSE, help=help_text("The purpose: {words}.", words=PURPOSE))
@click.option(
    "--arriving-from",
    type=REGION,
    default="",
    help="The region the person comes from, GB/T 2260.  [default: not known]",
)
@click.option("--use-time", type=INSTANT, help="The instant of use, for example a departure.  [default: now]")
@evidence_option
@click.option("--nationwide", is_flag=True, help="Always ask the national node.  [default: only if needed]")
@click.option("--local", is_flag=True, help="Never ask the national node; then nobody may be refused.")
@click.option("--at-least-as-fresh", default="", help="A consistency token; the answer includes its write.")
@click.option("--store-decision", is_flag=True, help="Store the decision whatever its outcome.")
@click.option(
    "--encoding",
    type=ENCODING,
    default="",
    help="Encoding of a text file or of standard input.  [default: detected; UTF-8 for standard input]",
)
@timezone_option(help_text("Zone of the times of a file without one.  [default: Asia/Shanghai]"))
@click.option("--exceptions-only", is_flag=True, help="Print only the people who are not simply let in.")
@click.option(
    "--report",
    "report_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new workbook (.xlsx) for the rows of a file, each with its action and reasons, and the totals.",
)
@json_option
@click.pass_obj
def verify(
    node: Node,
    people: str | None,
    document: identity_pb2.IdentityDocument | None,
    shown: str,
    region: str,
    purpose: int | None,
    arriving_from: str,
    use_time: Timestamp | None,
    evidence: Sequence[PresentedEvidence],
    nationwide: bool,
    local: bool,
    at_least_as_fresh: str,
    store_decision: bool,
    encoding: str,
    timezone: str,
    exceptions_only: bool,
    report_path: Path | None,
    as_json: bool,
) -> ExitCode:
    """Decide for one person (--number or --token), for the PEOPLE of a file, or with - for standard input.

    A file is CSV, a workbook or NDJSON. Its columns are card_no, card_type, name, issuing_country and, if rows
    differ, region, purpose, arriving_from and use_time (出发时间).

    Each line of standard input is a number, a tab and a name, or a holder's token, or a VerifyRequest in JSON. It gets
    one line of output, in the same order, which begins with what the gate does. While the service restarts, lines wait
    and are asked again.

    Exit code 0 means recognised or not required, 4 not recognised, 5 undetermined; for many people it is the smallest
    that is not 0.
    """
    if bool(people) + bool(document) + bool(shown) != 1:
        raise click.UsageError(tr("give one of --number, --token and a file of people"))
    template = VerifyRequest(
        document=document,
        region=region,
        purpose=purpose_pb2.Purpose.ValueType(purpose or 0),
        arriving_from=arriving_from,
        use_time=use_time,
        evidence=evidence,
        scope=_scope(nationwide=nationwide, local=local),
        at_least_as_fresh=at_least_as_fresh,
        store_decision=store_decision,
    )
    if shown:
        template.holder_token = read_secret("--token", shown)
    zone = parse_timezone(timezone) or SHANGHAI
    if report_path and people in {None, "-"}:
        raise click.UsageError(tr("give --report with a file of people only"))
    if report_path and report_path.suffix.lower() != ".xlsx":
        raise click.UsageError(tr("the file of --report is a workbook; give it a name that ends with .xlsx"))
    if people == "-" and encoding.startswith(("utf-16", "utf-32")):
        raise click.UsageError(tr("standard input cannot be UTF-16 or UTF-32, whose lines have other ends"))
    with node.connect() as connection:
        if people:
            many = _ManyOptions(Path(people), encoding, zone, report_path, exceptions_only, as_json)
            return (_verify_pipe if people == "-" else _verify_file)(connection, template, many)
        if not region or not purpose:
            raise click.UsageError(tr("--region and --purpose are needed"))
        decision = connection.verification.Verify(template, timeout=CALL_SECONDS).decision
        if as_json:
            print_json(decision)
        else:
            if decision.action:
                echo_raw(color_word(decision.action))
            echo("\n".join(explain(decision, policy_titles(connection))))
        return exit_code_of(decision)


@dataclass(frozen=True, slots=True)
class _ManyOptions:
    """The options for many people."""

    path: Path
    encoding: str
    zone: tzinfo
    report_path: Path | None
    exceptions_only: bool
    as_json: bool

    @property
    def is_quiet(self) -> bool:
        """Whether progress is shown, because not every answer is printed on the terminal."""
        return self.exceptions_only or not sys.stdout.isatty()

    def answers(self, keep: Keep | None = None) -> Answers:
        return Answers(as_json=self.as_json, exceptions_only=self.exceptions_only, keep=keep)


def _scope(*, nationwide: bool, local: bool) -> lookup_pb2.LookupScope.ValueType:
    if nationwide and local:
        raise click.UsageError(tr("give either --nationwide or --local"))
    if nationwide:
        return lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    return lookup_pb2.LOOKUP_SCOPE_LOCAL if local else lookup_pb2.LOOKUP_SCOPE_UNSPECIFIED


def _verify_file(connection: Connection, template: VerifyRequest, options: _ManyOptions) -> ExitCode:
    """Decide for the people of a file. The workbook gets the rows that were answered, also if a later call fails."""
    with ExitStack() as stack:
        path = stack.enter_context(open_readable(options.path))
        people = stack.enter_context(open_people(path, template, options.encoding, options.zone))
        for notice in people.notices:
            say(notice)
        report = None
        if options.report_path:
            report = stack.enter_context(write_report(options.report_path, people.header))
        answers = options.answers(report.add if report else None)
        if report:
            stack.callback(lambda: report.add_totals(answers.totals))
        progress = stack.enter_context(show_progress(options.path.name, path)) if options.is_quiet else None
        while batch := list(islice(people.questions, _BATCH)):
            put = [asked for asked in batch if not asked.fault]
            request = BatchVerifyRequest(requests=[asked.request for asked in put])
            items: Iterable[VerifyItem] = ()
            if put:
                items = connection.verification.BatchVerify(request, timeout=CALL_SECONDS).items
            # Answers are matched by position. Correlation ids come from the file, so they may repeat or equal a row
            # number.
            answered = iter(list(zip(put, items, strict=True)))
            for asked in batch:
                answers.add(*((asked, None) if asked.fault else next(answered)))
            if progress:
                progress.update(progress.task_ids[0], completed=batch[-1].row)
    if not options.as_json:
        echo(answers.describe_totals())
    if options.report_path:
        say(tr("The answers are in {path}", path=options.report_path))
    return answers.exit_code


def _verify_pipe(connection: Connection, template: VerifyRequest, options: _ManyOptions) -> ExitCode:
    answers = options.answers()
    lines = enumerate(read_lines(sys.stdin.fileno(), options.encoding or "utf-8"), start=1)
    questions = (read_line(number, line, template) for number, line in lines if line.strip())
    gate = GateStream(connection.verification.StreamVerify, questions, on_break=_say_break)
    is_read = True
    try:
        for asked, item in gate.answers():
            answers.add(asked, item)
    except BrokenPipeError:
        is_read = False
        raise
    except (HutongError, KeyboardInterrupt):
        if unanswered := gate.unanswered:
            rows = describe_rows([asked.row for asked in unanswered])
            say(tr("hutong: lines without an answer: {rows}", rows=rows))
        raise
    finally:
        if is_read and not options.as_json:
            say(answers.describe_totals())
    return answers.exit_code


def _say_break(error: HutongError, waiting: int) -> None:
    say(tr("hutong: {error}; {waiting} lines wait, and are asked again", error=describe_error(error), waiting=waiting))


def policy_titles(connection: Connection) -> Callable[[str], str]:
    """Return a function that reads the title of a policy; it returns an empty text if the title cannot be read."""

    @cache
    def title_of(name: str) -> str:
        try:
            policy = connection.policies.GetPolicy(GetPolicyRequest(name=name), timeout=_TITLE_SECONDS).policy
        except HutongError:
            return ""
        return f"“{tr(policy.title)}”"

    return title_of
