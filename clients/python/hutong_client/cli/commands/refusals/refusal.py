"""`hutong refusal`: reports of people who were refused."""

from __future__ import annotations

from collections.abc import Sequence

import click
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.type.v1 import identity_pb2, purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import refusal_pb2, refusal_service_pb2
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong_texts import tr

from hutong_client.cli.commands.refusals.display import (
    refusal_sheet,
    show_refusal,
)
from hutong_client.cli.commands.refusals.summary import summary
from hutong_client.cli.evidence import evidence_option
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.exports.options import Exports, export_options
from hutong_client.cli.help import Group, help_text
from hutong_client.cli.options import (
    INSTANT,
    PURPOSE,
    REGION,
    Node,
    NodeCommand,
    document_options,
    json_option,
)
from hutong_client.cli.output import echo, print_json
from hutong_client.cli.words import Word
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict
from hutong_client.paging import all_pages

GROUND = Word(refusal_ground_pb2.RefusalGround, "REFUSAL_GROUND_")
STATE = Word(refusal_pb2.RefusalState, "REFUSAL_STATE_")
ASSESSMENT = Word(refusal_pb2.RefusalAssessment, "REFUSAL_ASSESSMENT_")
VENUE_KIND = Word(refusal_pb2.VenueKind, "VENUE_KIND_")


@click.group(cls=Group)
def refusal() -> None:
    """Report a refusal of a valid result; list, answer and count such reports."""


@refusal.command(
    cls=NodeCommand,
    example="--region 410105 --purpose hotel --at 2022-08-10T23:00:00+08:00 --ground not-tested-locally",
)
@document_options(needed=False)
@click.option("--region", type=REGION, required=True, help="The region of the refusal, GB/T 2260.")
@click.option("--venue", default="", help="The name of the venue.")
@click.option(
    "--venue-kind",
    type=VENUE_KIND,
    default=None,
    help=help_text("The kind of venue: {words}.", words=VENUE_KIND),
)
@click.option("--purpose", type=PURPOSE, required=True, help=help_text("The purpose: {words}.", words=PURPOSE))
@click.option(
    "--arriving-from", type=REGION, default="", help="The region the person came from, GB/T 2260.  [default: not known]"
)
@click.option("--at", "refuse_time", type=INSTANT, required=True, help="The time of the refusal.")
@click.option(
    "--ground",
    "grounds",
    type=GROUND,
    multiple=True,
    required=True,
    help=help_text("A ground: {words}.", words=GROUND),
)
@evidence_option
@click.option("--decision", default="", help="The decision that was shown to the venue, decisions/{id}.")
@click.option("--statement", default="", help="The person's own words.")
@json_option
@click.pass_obj
def report(
    node: Node,
    document: identity_pb2.IdentityDocument | None,
    region: str,
    venue: str,
    venue_kind: int | None,
    purpose: int,
    arriving_from: str,
    refuse_time: Timestamp,
    grounds: Sequence[int],
    evidence: Sequence[PresentedEvidence],
    decision: str,
    statement: str,
    as_json: bool,
) -> ExitCode:
    """Report a refusal. The node of the place assesses whether it was unlawful: at once, or soon if it is another node.

    With --number the assessment also considers whether the person was recognised at that time. Give the results that
    were shown, on paper too, with --evidence.
    """
    request = refusal_service_pb2.ReportRefusalRequest(
        region=region,
        venue=venue,
        venue_kind=refusal_pb2.VenueKind.ValueType(venue_kind or 0),
        purpose=purpose_pb2.Purpose.ValueType(purpose),
        arriving_from=arriving_from,
        refuse_time=refuse_time,
        grounds=[refusal_ground_pb2.RefusalGround.ValueType(ground) for ground in grounds],
        decision=decision,
        document=document,
        evidence=evidence,
        statement=statement,
    )
    with node.connect() as connection:
        answered = connection.refusals.ReportRefusal(request, timeout=CALL_SECONDS)
    if as_json:
        print_json(as_dict(answered.refusal) | {"code": answered.code})
        return ExitCode.DONE
    show_refusal(answered.refusal, as_json)
    if answered.code:
        echo(tr("  Code of the receipt: {code}", code=answered.code))
    return ExitCode.DONE


@refusal.command(cls=NodeCommand, example="K7QM-3XTF-9WDP-R2NV")
@click.argument("code")
@json_option
@click.pass_obj
def track(node: Node, code: str, as_json: bool) -> ExitCode:
    """Show the report with the receipt CODE, at the node where it was made."""
    request = refusal_service_pb2.TrackRefusalRequest(code=code)
    with node.connect() as connection:
        found = connection.refusals.TrackRefusal(request, timeout=CALL_SECONDS).refusal
    return show_refusal(found, as_json)


@refusal.command(cls=NodeCommand, example="refusals/0190a5e2-7c00-7000-8000-000000000001")
@click.argument("name")
@json_option
@click.pass_obj
def get(node: Node, name: str, as_json: bool) -> ExitCode:
    """Show the report NAME, refusals/{id}: the person's words, the assessment and the answer."""
    request = refusal_service_pb2.GetRefusalRequest(name=name)
    with node.connect() as connection:
        found = connection.refusals.GetRefusal(request, timeout=CALL_SECONDS).refusal
    return show_refusal(found, as_json)


@refusal.command(cls=NodeCommand, example='refusals/0190a5e2-7c00-7000-8000-000000000001 "The hotel was told."')
@click.argument("name")
@click.argument("text", metavar="ANSWER")
@json_option
@click.pass_obj
def answer(node: Node, name: str, text: str, as_json: bool) -> ExitCode:
    """Answer the report NAME, refusals/{id}."""
    request = refusal_service_pb2.AnswerRefusalRequest(name=name, answer=text)
    with node.connect() as connection:
        answered = connection.refusals.AnswerRefusal(request, timeout=CALL_SECONDS).refusal
    return show_refusal(answered, as_json)


@refusal.command("list", cls=NodeCommand, example="--region 410000 --state open")
@click.option("--region", type=REGION, default="", help="Only in this region and below, GB/T 2260.")
@click.option("--ground", "grounds", type=GROUND, multiple=True, help="Only on one of these grounds.")
@click.option("--state", "states", type=STATE, multiple=True, help="Only in one of these states.")
@click.option("--assessment", "assessments", type=ASSESSMENT, multiple=True, help="Only with one of these assessments.")
@click.option("--judgement", "former_assessments", type=ASSESSMENT, multiple=True, hidden=True)
@click.option("--overdue", is_flag=True, help="Only reports whose answer is overdue.")
@click.option("--from", "start_time", type=INSTANT, help="Only at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, help="Only before this instant.")
@export_options
@json_option
@click.pass_obj
def list_refusals(
    node: Node,
    region: str,
    grounds: Sequence[int],
    states: Sequence[int],
    assessments: Sequence[int],
    former_assessments: Sequence[int],
    overdue: bool,
    start_time: Timestamp | None,
    end_time: Timestamp | None,
    exports: Exports,
    as_json: bool,
) -> ExitCode:
    """List reports, newest first: the person's words, the assessment, the answer, which node answers and by when.

    `get` shows long texts in full, and files have them in full.
    """
    request = refusal_service_pb2.ListRefusalsRequest(
        region=region,
        grounds=[refusal_ground_pb2.RefusalGround.ValueType(ground) for ground in grounds],
        states=[refusal_pb2.RefusalState.ValueType(state) for state in states],
        assessments=[
            refusal_pb2.RefusalAssessment.ValueType(assessment) for assessment in (*assessments, *former_assessments)
        ],
        refuse_interval=Interval(start_time=start_time, end_time=end_time),
        overdue=overdue,
    )
    with node.connect() as connection:
        refusals = [it for page in all_pages(connection.refusals.ListRefusals, request) for it in page.refusals]
    if as_json:
        print_json({"refusals": [as_dict(it) for it in refusals]})
        return ExitCode.DONE
    if exports:
        exports.write(refusal_sheet(refusals, shorten=False))
    else:
        refusal_sheet(refusals, shorten=True).show()
    return ExitCode.DONE


refusal.add_command(summary)
