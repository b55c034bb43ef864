"""`hutong hold`: legal holds, which keep results from being destroyed by a purge."""

from __future__ import annotations

from functools import partial

import click
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.legal_hold_pb2 import LegalHold
from hutong.results.v1.legal_hold_service_pb2 import (
    CreateLegalHoldRequest,
    LiftLegalHoldRequest,
    ListHeldResultsRequest,
    ListLegalHoldsRequest,
)
from hutong.type.v1 import identity_pb2
from hutong_texts import tr

from hutong_client.cli.case import Metadata, case_option
from hutong_client.cli.commands.lookup import print_results
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import INSTANT, LAB, Node, NodeCommand, document_options, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment
from hutong_client.paging import all_pages

_EXAMPLE = "legalHolds/0190a5e2-7c00-7000-8000-000000000001"


@click.group(cls=Group)
def hold() -> None:
    """Keep results that a purge must not destroy, list such holds, lift them, and show what they keep."""


@hold.command(cls=NodeCommand, example='--lab 91220502MA000LAB8G --case 2022-C-17 --reason "forged reports"')
@document_options(needed=False)
@click.option("--lab", type=LAB, help="Only results of this laboratory.")
@click.option("--from", "start_time", type=INSTANT, help="Only reports that were issued at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, help="Only reports that were issued before this instant.")
@click.option("--reason", required=True, help="Why, without any identity.")
@case_option
@json_option
@click.pass_obj
def create(
    node: Node,
    document: identity_pb2.IdentityDocument | None,
    lab: str | None,
    start_time: Timestamp | None,
    end_time: Timestamp | None,
    reason: str,
    metadata: Metadata,
    as_json: bool,
) -> ExitCode:
    """Hold the results that meet every condition given. Purges that begin later respect it."""
    request = CreateLegalHoldRequest(document=document, lab=lab or "", reason=reason)
    if start_time or end_time:
        request.report_interval.CopyFrom(Interval(start_time=start_time, end_time=end_time))
    with node.connect() as connection:
        response = connection.legal_holds.CreateLegalHold(request, timeout=CALL_SECONDS, metadata=metadata)
    return _show(response.legal_hold, as_json)


@hold.command(cls=NodeCommand, example=f'{_EXAMPLE} --case 2022-C-17 --reason "the case is closed"')
@click.argument("name", metavar="HOLD")
@click.option("--reason", required=True, help="Why, without any identity.")
@case_option
@json_option
@click.pass_obj
def lift(node: Node, name: str, reason: str, metadata: Metadata, as_json: bool) -> ExitCode:
    """Lift HOLD, given as legalHolds/{uuid7}. The next purge destroys what no other hold covers."""
    request = LiftLegalHoldRequest(name=name, reason=reason)
    with node.connect() as connection:
        response = connection.legal_holds.LiftLegalHold(request, timeout=CALL_SECONDS, metadata=metadata)
    return _show(response.legal_hold, as_json)


@hold.command("list", cls=NodeCommand, example="--all")
@click.option("--all", "include_lifted", is_flag=True, help="Also holds that were lifted.")
@json_option
@click.pass_obj
def list_holds(node: Node, include_lifted: bool, as_json: bool) -> ExitCode:
    """List the holds of the node, newest first."""
    request = ListLegalHoldsRequest(include_lifted=include_lifted)
    with node.connect() as connection:
        pages = all_pages(connection.legal_holds.ListLegalHolds, request)
        found = [it for page in pages for it in page.legal_holds]
    if as_json:
        print_json({"legal_holds": [as_dict(it) for it in found]})
    elif not found:
        echo(tr("There is no hold."))
    else:
        rows = [(it.name, _conditions(it), it.case_id, moment(it.create_time), _state(it), it.reason) for it in found]
        print_table((tr("hold"), tr("covers"), tr("case"), tr("since"), tr("state"), tr("reason")), rows)
    return ExitCode.DONE


@hold.command(cls=NodeCommand, example=f"{_EXAMPLE} --case 2022-C-17")
@click.argument("name", metavar="HOLD")
@case_option
@json_option
@click.pass_obj
def results(node: Node, name: str, metadata: Metadata, as_json: bool) -> ExitCode:
    """List the results that purges have taken out of use and HOLD keeps."""
    request = ListHeldResultsRequest(name=name)
    with node.connect() as connection:
        pages = all_pages(partial(connection.legal_holds.ListHeldResults, metadata=metadata), request)
        found = [it for page in pages for it in page.held_results]
    if as_json:
        print_json({"held_results": [as_dict(it) for it in found]})
    elif not found:
        echo(tr("No purge has taken any of its results out of use."))
    else:
        print_results([it.test_result for it in found])
    return ExitCode.DONE


def _show(held: LegalHold, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"legal_hold": as_dict(held)})
    else:
        echo(
            tr("{name}: {state}, covers {conditions}", name=held.name, state=_state(held), conditions=_conditions(held))
        )
    return ExitCode.DONE


def _state(held: LegalHold) -> str:
    return tr("lifted {time}", time=moment(held.lift_time)) if held.HasField("lift_time") else tr("active")


def _conditions(held: LegalHold) -> str:
    """Describe what a hold covers."""
    parts = [part for part in (held.masked_number, held.lab) if part]
    if held.HasField("report_interval"):
        interval = held.report_interval
        start = moment(interval.start_time) if interval.HasField("start_time") else ""
        end = moment(interval.end_time) if interval.HasField("end_time") else ""
        parts.append(tr("reports from {start} to {end}", start=start or "…", end=end or "…"))
    return ", ".join(parts)
