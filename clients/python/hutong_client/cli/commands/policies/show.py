"""`hutong policy` and its commands that show published policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

import click
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1 import policy_pb2, policy_service_pb2
from hutong.type.v1 import channel_pb2, purpose_pb2, refusal_ground_pb2
from hutong_texts import list_words, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Command, Group, help_text
from hutong_client.cli.options import INSTANT, PURPOSE, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, echo_raw, labelled, print_json, print_table
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import Enum, as_dict, moment, word
from hutong_client.paging import all_pages
from hutong_client.policies.publication import list_revisions
from hutong_client.policies.rules import describe_override, describe_requirement, describe_source


@click.group(cls=Group)
def policy() -> None:
    """Publish policies from files, show them and resolve them."""


@policy.command(
    cls=NodeCommand,
    former={"--at": "--effective-time", "--known": "--as-of-time"},
    example="--region 410105 --purpose hotel --arriving-from 220500",
)
@click.option("--region", type=REGION, required=True, help="The region that checks, GB/T 2260.")
@click.option("--purpose", type=PURPOSE, required=True, help=help_text("The purpose: {words}.", words=PURPOSE))
@click.option(
    "--arriving-from",
    type=REGION,
    default="",
    help="The region the person comes from, GB/T 2260.  [default: not known]",
)
@click.option("--effective-time", type=INSTANT, help="The instant of use.  [default: now]")
@click.option("--as-of-time", type=INSTANT, help="Use only what was published by this instant.  [default: now]")
@json_option
@click.pass_obj
def resolve(
    node: Node,
    region: str,
    purpose: int,
    arriving_from: str,
    effective_time: Timestamp | None,
    as_of_time: Timestamp | None,
    as_json: bool,
) -> ExitCode:
    """Show the policy that applies to a region, a purpose, an origin and an instant.

    If the origin is not known and the policies differ, both are shown: for the same province and for another.
    """
    request = policy_service_pb2.ResolvePolicyRequest(
        region=region,
        purpose=purpose_pb2.Purpose.ValueType(purpose),
        arriving_from=arriving_from,
        effective_time=effective_time,
        as_of_time=as_of_time,
    )
    with node.connect() as connection:
        response = connection.policies.ResolvePolicy(request, timeout=CALL_SECONDS)
    if response.HasField("by_origin"):
        if as_json:
            print_json(response.by_origin)
            return ExitCode.DONE
        echo(tr("The origin is not known, and the policies differ."))
        echo(tr("From the same province:"))
        _show_effective(response.by_origin.same_province)
        echo(tr("From another province:"))
        _show_effective(response.by_origin.other_province)
    elif as_json:
        print_json(response.effective_policy)
    else:
        _show_effective(response.effective_policy)
    return ExitCode.DONE


def _show_effective(effective: policy_pb2.EffectivePolicy) -> None:
    echo(describe_requirement(effective))
    lines = {
        tr("Policy"): effective.governing,
        tr("Lifted by"): effective.lifting_floor,
        tr("Its document"): describe_source(effective.lifting_source),
        tr("Document"): describe_source(effective.governing_source),
        tr("Floors"): list_words([*([effective.floor] if effective.floor else []), *effective.lower_floors]),
        tr("Channels"): _words(channel_pb2.Channel, effective.channels, "CHANNEL_")
        or (tr("all") if effective.governing else ""),
        tr("Never a ground"): _words(refusal_ground_pb2.RefusalGround, effective.forbidden_grounds, "REFUSAL_GROUND_"),
        tr("Advice"): tr("; ").join(map(tr, effective.advice)),
        tr("Constant from"): moment(effective.start_time),
        tr("Constant until"): moment(effective.end_time),
    }
    for what, text in lines.items():
        if text:
            echo(labelled(what, text))
    for override in effective.overrides:
        echo(tr("  Replaced by {floor}: {override}", floor=override.floor, override=describe_override(override)))


@policy.command(cls=NodeCommand, example="jurisdictions/410000/policies/recognition-from-outside")
@click.argument("name")
@json_option
@click.pass_obj
def history(node: Node, name: str, as_json: bool) -> ExitCode:
    """List all revisions of the policy NAME, jurisdictions/{region}/policies/{policy_id}, newest first."""
    with node.connect() as connection:
        revisions = list_revisions(connection, name)
    return _show_list(revisions, as_json)


@policy.command(
    "list",
    cls=NodeCommand,
    former={"--in-force": "--effective-time"},
    example="--jurisdiction 410000 --effective-time now",
)
@click.option(
    "--jurisdiction", type=REGION, default="", help="Only policies of this jurisdiction, GB/T 2260.  [default: all]"
)
@click.option("--effective-time", type=INSTANT, help="Only policies in force at this instant.")
@json_option
@click.pass_obj
def list_policies(node: Node, jurisdiction: str, effective_time: Timestamp | None, as_json: bool) -> ExitCode:
    """List the newest revision of each policy."""
    request = policy_service_pb2.ListPoliciesRequest(
        jurisdiction=f"jurisdictions/{jurisdiction}" if jurisdiction.strip("-") else "", effective_time=effective_time
    )
    with node.connect() as connection:
        policies = [it for page in all_pages(connection.policies.ListPolicies, request) for it in page.policies]
    return _show_list(policies, as_json)


@policy.command(cls=Command, example="> policy.schema.json")
def schema() -> ExitCode:
    """Print the JSON Schema of policy files, with or without --json. Editors use it to complete and check files.

    Name it in a file's first line: # yaml-language-server: $schema=PATH
    """
    echo_raw(
        files("hutong_client.policies").joinpath("policy.schema.json").read_text(encoding="utf-8"), ends_line=False
    )
    return ExitCode.DONE


def _show_list(policies: Sequence[policy_pb2.Policy], as_json: bool) -> ExitCode:
    if as_json:
        print_json({"policies": [as_dict(it) for it in policies]})
        return ExitCode.DONE
    rows = [
        (
            it.name,
            moment(it.effective_start_time),
            moment(it.effective_end_time),
            tr("withdrawn") if it.HasField("withdraw_time") else describe_requirement(it),
            tr(it.title),
        )
        for it in policies
    ]
    print_table((tr("policy"), tr("from"), tr("until"), tr("asks for"), tr("title")), rows)
    return ExitCode.DONE


def _words(enum: Enum, numbers: Iterable[int], prefix: str) -> str:
    return list_words(word(enum, number, prefix) for number in numbers)
