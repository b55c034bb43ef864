"""`hutong pending`: changes that wait for a second approver."""

from __future__ import annotations

import click
from hutong.approval.v1.approval_service_pb2 import (
    ApproveChangeRequest,
    GetPendingChangeRequest,
    ListPendingChangesRequest,
    RejectChangeRequest,
)
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.approval.v1.pending_change_pb2 import PendingChange, PendingChangeState

# A pending change holds a request of one of these services. To print the change as JSON, the request's type is needed.
from hutong.policy.v1 import policy_admin_service_pb2
from hutong.results.v1 import document_link_service_pb2, results_admin_service_pb2
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.errors import NotFound, PermissionDenied
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages

_PROPOSED = (policy_admin_service_pb2, document_link_service_pb2, results_admin_service_pb2)


@click.group(cls=Group)
def pending() -> None:
    """List, approve and reject changes that wait for a second approver.

    Supervisors decide on recalls and unlinkings, at Results; the nation's authority on floors, at Policy.
    """


@pending.command("list", cls=NodeCommand, example="--all")
@click.option("--all", "include_decided", is_flag=True, help="Also changes that are decided or have lapsed.")
@json_option
@click.pass_obj
def list_changes(node: Node, include_decided: bool, as_json: bool) -> ExitCode:
    """List the changes that you may decide, newest first. --json shows what is proposed in full."""
    request = ListPendingChangesRequest(include_decided=include_decided)
    with node.connect() as connection:
        found = [
            change
            for service in _services(connection)
            for page in all_pages(service.ListPendingChanges, request)
            for change in page.pending_changes
        ]
    if as_json:
        print_json({"pending_changes": [as_dict(it) for it in found]})
    elif not found:
        echo(tr("No change waits."))
    else:
        rows = [
            (
                it.name,
                it.method.rpartition("/")[2],
                it.object,
                f"{it.item_count:,}",
                it.proposer,
                _state(it),
                moment(it.expire_time),
            )
            for it in found
        ]
        print_table(
            (tr("change"), tr("call"), tr("of"), tr("results"), tr("proposed by"), tr("state"), tr("lapses")), rows
        )
    return ExitCode.DONE


@pending.command(cls=NodeCommand, example="pendingChanges/0190a5e2-7c00-7000-8000-000000000001")
@click.argument("name", metavar="CHANGE")
@json_option
@click.pass_obj
def get(node: Node, name: str, as_json: bool) -> ExitCode:
    """Show CHANGE, given as pendingChanges/{uuid7}. --json shows what is proposed in full."""
    with node.connect() as connection:
        service = _owner(connection, name)
        response = service.GetPendingChange(GetPendingChangeRequest(name=name), timeout=CALL_SECONDS)
    return _show(response.pending_change, as_json)


@pending.command(cls=NodeCommand, example="pendingChanges/0190a5e2-7c00-7000-8000-000000000001")
@click.argument("name", metavar="CHANGE")
@json_option
@click.pass_obj
def approve(node: Node, name: str, as_json: bool) -> ExitCode:
    """Approve CHANGE, given as pendingChanges/{uuid7}, and make it. The proposer cannot. Repeating it does no harm."""
    with node.connect() as connection:
        service = _owner(connection, name)
        response = service.ApproveChange(ApproveChangeRequest(name=name), timeout=CALL_SECONDS)
    return _show(response.pending_change, as_json)


@pending.command(
    cls=NodeCommand, example='pendingChanges/0190a5e2-7c00-7000-8000-000000000001 --reason "the wrong day"'
)
@click.argument("name", metavar="CHANGE")
@click.option("--reason", required=True, help="Why, without any identity.")
@json_option
@click.pass_obj
def reject(node: Node, name: str, reason: str, as_json: bool) -> ExitCode:
    """Reject CHANGE, given as pendingChanges/{uuid7}. The proposer may do so too."""
    with node.connect() as connection:
        service = _owner(connection, name)
        response = service.RejectChange(RejectChangeRequest(name=name, reason=reason), timeout=CALL_SECONDS)
    return _show(response.pending_change, as_json)


def describe_waiting(change: PendingChange) -> str:
    """Describe the pending change that a call has proposed: the change's name and how to approve the change."""
    if change.state != PendingChangeState.PENDING_CHANGE_STATE_PENDING:
        return f"{change.name}: {_state(change)}"
    count = tr(" of {item_count:,} results", item_count=change.item_count) if change.item_count > 1 else ""
    return tr(
        "Nothing is changed yet. {name}{count} waits for a second approver until "
        "{expire_time}.\nAnother officer approves it with: hutong pending approve {name}",
        name=change.name,
        count=count,
        expire_time=moment(change.expire_time),
    )


def _services(connection: Connection) -> tuple[ApprovalServiceStub, ApprovalServiceStub]:
    return connection.result_approvals, connection.policy_approvals


def _owner(connection: Connection, name: str) -> ApprovalServiceStub:
    """Return the service that has a change.

    If no service shows the change, the next call fails with the right error.
    """
    results, policy = _services(connection)
    try:
        results.GetPendingChange(GetPendingChangeRequest(name=name), timeout=CALL_SECONDS)
    except (NotFound, PermissionDenied):
        return policy
    return results


def _show(change: PendingChange, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"pending_change": as_dict(change)})
    else:
        count = (
            tr(", {changed_count:,} results", changed_count=change.changed_count) if change.changed_count > 1 else ""
        )
        echo(f"{change.name}: {_state(change)}{count}")
    return ExitCode.DONE


def _state(change: PendingChange) -> str:
    return word(PendingChangeState, change.state, "PENDING_CHANGE_STATE_")
