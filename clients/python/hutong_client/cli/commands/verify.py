"""`hutong verify`: decide whether a person's result is recognised in a region, for a purpose, at an instant."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    StreamVerifyRequest,
    VerifyItem,
    VerifyRequest,
)

from hutong_client.cli.evidence import evidence_option
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import AFTER_ERROR, exit_code_of, explain, summarize
from hutong_client.cli.options import (
    ENCODING,
    INSTANT,
    PURPOSE,
    Node,
    NodeCommand,
    document_options,
    json_option,
    read_secret,
)
from hutong_client.cli.output import print_json, print_json_line
from hutong_client.cli.people import Asked, read_lines, read_people, read_question
from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.errors import HutongError, from_status
from hutong_client.formatting import as_dict

_BATCH = 500
"""The service's limit of questions in one call."""
_TITLE_SECONDS = 2.0
"""Timeout for reading a policy's title. The title is optional, so it must not delay the answer for longer."""


@click.command(
    cls=NodeCommand,
    former={"--record": "--store-decision"},
    example="--number - --region 410105 --purpose hotel --arriving-from 220500",
)
@click.argument("people", required=False)
@document_options(needed=False)
@click.option(
    "--token",
    "shown",
    default="",
    help="The token that the holder shows, instead of --number; - reads it from standard input.",
)
@click.option("--region", default="", help="The region that checks, GB/T 2260; its window counts.")
@click.option("--purpose", type=PURPOSE, help="The purpose: " + ", ".join(PURPOSE.words) + ".")
@click.option("--arriving-from", default="", help="The region the person comes from, GB/T 2260.  [default: not known]")
@click.option("--use-time", type=INSTANT, help="The instant of use, for example a departure.  [default: now]")
@evidence_option
@click.option("--nationwide", is_flag=True, help="Always ask the national node.  [default: only if needed]")
@click.option("--local", is_flag=True, help="Never ask the national node; then nobody may be refused.")
@click.option("--at-least-as-fresh", default="", help="A consistency token; the answer includes its write.")
@click.option("--store-decision", is_flag=True, help="Store the decision whatever its outcome.")
@click.option("--encoding", type=ENCODING, default="", help="Encoding of a text file.  [default: detected]")
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
    as_json: bool,
) -> ExitCode:
    """Decide for one person (--number or --token), for the PEOPLE of a file, or with - for standard input.

    A file is CSV, a workbook or NDJSON. Its columns are card_no, card_type, name, issuing_country and, if rows
    differ, region, purpose, arriving_from and use_time. Each line of standard input is a VerifyRequest in JSON and
    gets one line of output. Exit code 0 means recognised or not required, 4 not recognised, 5 undetermined; for
    many people it is the smallest that is not 0.
    """
    if bool(people) + bool(document) + bool(shown) != 1:
        raise click.UsageError("give one of --number, --token and a file of people")
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
    with node.connect() as connection:
        if people == "-":
            return _verify_pipe(connection, template, as_json)
        if people:
            return _verify_file(connection, Path(people), template, encoding, as_json)
        if not region or not purpose:
            raise click.UsageError("--region and --purpose are needed")
        decision = connection.verification.Verify(template, timeout=CALL_SECONDS).decision
        if as_json:
            print_json(decision)
        else:
            click.echo("\n".join(explain(decision, policy_titles(connection))))
        return exit_code_of(decision)


def _scope(*, nationwide: bool, local: bool) -> lookup_pb2.LookupScope.ValueType:
    if nationwide and local:
        raise click.UsageError("give either --nationwide or --local")
    if nationwide:
        return lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
    return lookup_pb2.LOOKUP_SCOPE_LOCAL if local else lookup_pb2.LOOKUP_SCOPE_UNSPECIFIED


class _Answers:
    """Printer of answers that also collects their exit codes."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._codes = {ExitCode.DONE}
        self._lock = threading.Lock()

    def fault(self, asked: Asked) -> None:
        """Print the fault of a question that could not be asked."""
        self._print(asked, {"error": {"message": asked.fault}}, f"NOT ASKED: {asked.fault}", ExitCode.PARTLY)

    def item(self, asked: Asked, item: VerifyItem) -> None:
        """Print the answer to a question."""
        if item.WhichOneof("item") == "error":
            error = from_status(item.error)
            line = f"ERROR, {error.reason or error.code.name}: {error.message}; gate: {AFTER_ERROR}"
            self._print(asked, {"error": as_dict(item.error)}, line, ExitCode.PARTLY)
        else:
            decision = item.decision
            self._print(asked, {"decision": as_dict(decision)}, summarize(decision), exit_code_of(decision))

    @property
    def exit_code(self) -> ExitCode:
        """The smallest exit code of all answers except 0; 0 if all are 0."""
        return min(self._codes - {ExitCode.DONE}, default=ExitCode.DONE)

    def _print(self, asked: Asked, content: dict[str, object], line: str, code: ExitCode) -> None:
        with self._lock:
            self._codes.add(code)
            if self._as_json:
                print_json_line({"row": asked.row, "correlation_id": asked.mark, **content})
            else:
                own_mark = f" ({asked.mark})" if asked.mark != str(asked.row) else ""
                click.echo(f"{asked.row}{own_mark}: {line}")


def _verify_file(connection: Connection, path: Path, template: VerifyRequest, encoding: str, as_json: bool) -> ExitCode:
    answers = _Answers(as_json)
    questions = read_people(path, template, encoding)
    while batch := list(islice(questions, _BATCH)):
        put = [asked for asked in batch if not asked.fault]
        request = BatchVerifyRequest(requests=[asked.request for asked in put])
        items: Iterable[VerifyItem] = ()
        if put:
            items = connection.verification.BatchVerify(request, timeout=CALL_SECONDS).items
        # Answers are matched by position. Correlation ids come from the file, so they may repeat or equal a row number.
        answered = iter(list(zip(put, items, strict=True)))
        for asked in batch:
            if asked.fault:
                answers.fault(asked)
            else:
                answers.item(*next(answered))
    return answers.exit_code


def _verify_pipe(connection: Connection, template: VerifyRequest, as_json: bool) -> ExitCode:
    answers = _Answers(as_json)
    # The keys are row numbers. They are the correlation_ids on the wire, because the gate's own ids need not be unique.
    waiting: dict[str, Asked] = {}

    def questions() -> Iterator[StreamVerifyRequest]:
        for number, line in enumerate(read_lines(sys.stdin.fileno()), start=1):
            if line.strip():
                asked = read_question(number, line, template)
                if asked.fault:
                    answers.fault(asked)
                else:
                    waiting[str(number)] = asked
                    yield StreamVerifyRequest(correlation_id=str(number), request=asked.request)

    for response in connection.verification.StreamVerify(questions()):
        item = (
            VerifyItem(error=response.error) if response.HasField("error") else VerifyItem(decision=response.decision)
        )
        answers.item(waiting.pop(response.correlation_id), item)
    return answers.exit_code


def policy_titles(connection: Connection) -> Callable[[str], str]:
    """Return a function that reads the title of a policy; it returns an empty text if the title cannot be read."""

    @cache
    def title_of(name: str) -> str:
        try:
            policy = connection.policies.GetPolicy(GetPolicyRequest(name=name), timeout=_TITLE_SECONDS).policy
        except HutongError:
            return ""
        return f"“{policy.title}”"

    return title_of
