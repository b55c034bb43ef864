"""`hutong policy get` and `withdraw`: one revision of a policy."""

from __future__ import annotations

import click
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest, WithdrawPolicyResponse
from hutong.policy.v1.policy_pb2 import Policy
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong_texts import tr

from hutong_client.cli.commands.pending import describe_waiting
from hutong_client.cli.commands.policies.apply import describe_impacts, describe_restored
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import Node, NodeCommand, json_option, read_instant, yes_option
from hutong_client.cli.output import confirm, echo, labelled, print_json, say
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import moment
from hutong_client.policies.rules import describe_purposes, describe_requirement, describe_source


@click.command("get", cls=NodeCommand, example="jurisdictions/410000/policies/recognition-from-outside")
@click.argument("name")
@json_option
@click.pass_obj
def get_policy(node: Node, name: str, as_json: bool) -> ExitCode:
    """Show the policy NAME, jurisdictions/{region}/policies/{policy_id}: its newest revision, or another with @{n}."""
    with node.connect() as connection:
        policy = connection.policies.GetPolicy(GetPolicyRequest(name=name), timeout=CALL_SECONDS).policy
    if as_json:
        print_json(policy)
    else:
        _show(policy)
    return ExitCode.DONE


@click.command(
    "withdraw", cls=NodeCommand, example='jurisdictions/410100/policies/hotels@2 --reason "notice 12 is repealed"'
)
@click.argument("name")
@click.option("--reason", required=True, help="Why.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and withdraw nothing.")
@yes_option
@json_option
@click.pass_obj
def withdraw_policy(node: Node, name: str, reason: str, dry_run: bool, yes: bool, as_json: bool) -> ExitCode:
    """Withdraw one revision, NAME, jurisdictions/{region}/policies/{policy_id}@{revision}.

    The answers that change now are shown first, and the command asks. A floor needs a second approver.
    """
    request = WithdrawPolicyRequest(name=name, reason=reason, validate_only=True, impact_time=read_instant("now"))
    with node.connect() as connection:
        response = connection.policy_admin.WithdrawPolicy(request, timeout=CALL_SECONDS)
        if not (dry_run and as_json):
            _say_preview(response)
        if not dry_run:
            if not yes:
                confirm(tr("Withdraw {name}?", name=name))
            request.validate_only = False
            response = connection.policy_admin.WithdrawPolicy(request, timeout=CALL_SECONDS)
    if as_json:
        print_json(response)
    elif response.HasField("pending_change"):
        echo(describe_waiting(response.pending_change))
    else:
        echo(f"{response.policy.name}: {(tr('would be withdrawn') if dry_run else tr('withdrawn'))}")
    return ExitCode.DONE


def _say_preview(response: WithdrawPolicyResponse) -> None:
    for line in describe_impacts(response.impacts):
        say(tr("changes {line}", line=line))
    for restored in response.restored:
        say(describe_restored(restored))
    say(tr("{impact_count:,} answers change now.", impact_count=response.impact_count))


def _show(policy: Policy) -> None:
    echo(f"{policy.name}: {tr(policy.title)}")
    lines = {
        tr("Asks for"): describe_requirement(policy),
        tr("Purposes"): describe_purposes(policy.purposes),
        tr("Document"): describe_source(policy.source),
        tr("From"): moment(policy.effective_start_time),
        tr("Until"): moment(policy.effective_end_time),
        tr("Withdrawn"): moment(policy.withdraw_time),
    }
    for what, text in lines.items():
        if text:
            echo(labelled(what, text))
