"""`hutong emergency`: grants under which a caller approves its own changes while no second approver can be reached."""

from __future__ import annotations

import click
from google.protobuf.duration_pb2 import Duration
from hutong.approval.v1.approval_service_pb2 import (
    EndEmergencyGrantRequest,
    ListEmergencyGrantsRequest,
    OpenEmergencyGrantRequest,
    ReviewEmergencyGrantRequest,
)
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.approval.v1.emergency_grant_pb2 import EmergencyGrant, EmergencyGrantState
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages
from hutong_client.tables.regions import show_region

MINUTES = 240
"""The longest grant. The services check it too."""
_floors_option = click.option(
    "--floors", is_flag=True, help="The grant is for floors, at Policy.  [default: recalls and unlinkings, at Results]"
)


@click.group(cls=Group)
def emergency() -> None:
    """Open, end, review and list grants for emergencies in which no second approver can be reached.

    Under an open grant `hutong pending approve` makes also what you have proposed yourself. The node's log warns of it,
    every change under it is marked in the audit, and another officer must review it afterwards.
    """


@emergency.command("open", cls=NodeCommand, example='--reason "the second officer cannot be reached" --minutes 30')
@click.option("--reason", required=True, help="Why a second approver cannot be waited for, without any identity.")
@click.option(
    "--minutes", type=click.IntRange(1, MINUTES), default=60, show_default=True, help="How long the grant is open."
)
@click.option("--region", type=REGION, default="", help="The region of the changes, GB/T 2260.  [default: your own]")
@_floors_option
@json_option
@click.pass_obj
def open_grant(node: Node, reason: str, minutes: int, region: str, floors: bool, as_json: bool) -> ExitCode:
    """Open a grant for yourself, for at most four hours. Another caller must have reviewed your earlier grant."""
    request = OpenEmergencyGrantRequest(reason=reason, open_duration=Duration(seconds=60 * minutes), region=region)
    with node.connect() as connection:
        response = _service(connection, floors).OpenEmergencyGrant(request, timeout=CALL_SECONDS)
    return _show(response.emergency_grant, as_json)


@emergency.command(cls=NodeCommand, example="emergencyGrants/0190a5e2-7c00-7000-8000-000000000001")
@click.argument("name", metavar="GRANT")
@_floors_option
@json_option
@click.pass_obj
def end(node: Node, name: str, floors: bool, as_json: bool) -> ExitCode:
    """End GRANT, given as emergencyGrants/{uuid7}, before its time. Another officer may end it too."""
    with node.connect() as connection:
        response = _service(connection, floors).EndEmergencyGrant(
            EndEmergencyGrantRequest(name=name), timeout=CALL_SECONDS
        )
    return _show(response.emergency_grant, as_json)


@emergency.command(
    cls=NodeCommand, example='emergencyGrants/0190a5e2-7c00-7000-8000-000000000001 --note "one recall, rightly made"'
)
@click.argument("name", metavar="GRANT")
@click.option("--note", required=True, help="What you found, without any identity.")
@_floors_option
@json_option
@click.pass_obj
def review(node: Node, name: str, note: str, floors: bool, as_json: bool) -> ExitCode:
    """Record that you have looked at what was done under GRANT of another officer. An open grant ends."""
    with node.connect() as connection:
        response = _service(connection, floors).ReviewEmergencyGrant(
            ReviewEmergencyGrantRequest(name=name, note=note), timeout=CALL_SECONDS
        )
    return _show(response.emergency_grant, as_json)


@emergency.command("list", cls=NodeCommand, example="--all")
@click.option("--all", "include_reviewed", is_flag=True, help="Also grants that are reviewed.")
@json_option
@click.pass_obj
def list_grants(node: Node, include_reviewed: bool, as_json: bool) -> ExitCode:
    """List the grants in your region, newest first, with the reasons."""
    request = ListEmergencyGrantsRequest(include_reviewed=include_reviewed)
    with node.connect() as connection:
        found = [
            grant
            for service in (connection.result_approvals, connection.policy_approvals)
            for page in all_pages(service.ListEmergencyGrants, request)
            for grant in page.emergency_grants
        ]
    if as_json:
        print_json({"emergency_grants": [as_dict(it) for it in found]})
    elif not found:
        echo(tr("No grant is open or waits for a review."))
    else:
        rows = [
            (
                it.name,
                it.holder,
                show_region(it.region),
                _state(it),
                moment(it.expire_time),
                f"{it.approved_count:,}",
                it.reason,
            )
            for it in found
        ]
        print_table(
            (tr("grant"), tr("holder"), tr("region"), tr("state"), tr("until"), tr("approved"), tr("reason")), rows
        )
    return ExitCode.DONE


def _service(connection: Connection, floors: bool) -> ApprovalServiceStub:
    return connection.policy_approvals if floors else connection.result_approvals


def _show(grant: EmergencyGrant, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"emergency_grant": as_dict(grant)})
    else:
        echo(describe_grant(grant))
    return ExitCode.DONE


def describe_grant(grant: EmergencyGrant) -> str:
    """Describe a grant in one line: its state, until when it is open, and what was approved under it."""
    is_open = grant.state == EmergencyGrantState.EMERGENCY_GRANT_STATE_OPEN
    return tr(
        "{name}: {grant}{until}, {approved_count:,} changes approved",
        name=grant.name,
        grant=_state(grant),
        until=tr(" until {expire_time}", expire_time=moment(grant.expire_time)) if is_open else "",
        approved_count=grant.approved_count,
    )


def _state(grant: EmergencyGrant) -> str:
    return word(EmergencyGrantState, grant.state, "EMERGENCY_GRANT_STATE_")
