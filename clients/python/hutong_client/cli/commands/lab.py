"""`hutong lab`: the register of laboratories."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import lab_pb2, lab_service_pb2
from hutong_texts import tr

from hutong_client.cli.commands.report import read_public_key
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import INSTANT, LAB, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.cli.words import Word
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages
from hutong_client.tables.regions import show_region

STANDING = Word(lab_pb2.LabStanding, "LAB_STANDING_")


@click.group(cls=Group)
def lab() -> None:
    """Register and show laboratories, and change their standing."""


@lab.command(cls=NodeCommand, example="91220502MA000LAB8G --display-name 通化示例检验所 --region 220502")
@click.argument("name", type=LAB, metavar="LAB")
@click.option("--display-name", required=True, help="The registered name.")
@click.option("--region", type=REGION, required=True, help="The region it works in, GB/T 2260.")
@click.option("--contact", default="", help="The contact for missing reports.")
@click.option("--authorized-from", type=INSTANT, help="When its authorisation begins.  [default: no beginning]")
@json_option
@click.pass_obj
def create(
    node: Node,
    name: str,
    display_name: str,
    region: str,
    contact: str,
    authorized_from: Timestamp | None,
    as_json: bool,
) -> ExitCode:
    """Register LAB, given as labs/{uscc} or its GB 32100 code alone. Repeating the same command changes nothing."""
    new = lab_pb2.Lab(
        name=name, display_name=display_name, region=region, contact=contact, authorize_time=authorized_from
    )
    with node.connect() as connection:
        response = connection.labs.CreateLab(lab_service_pb2.CreateLabRequest(lab=new), timeout=CALL_SECONDS)
    return _show(response.lab, as_json)


@lab.command(cls=NodeCommand, example="91220502MA000LAB8G --contact 0435-0000000")
@click.argument("name", type=LAB, metavar="LAB")
@click.option("--display-name", help="The new registered name.")
@click.option("--contact", help='The new contact for missing reports; "" removes it.')
@json_option
@click.pass_obj
def update(node: Node, name: str, display_name: str | None, contact: str | None, as_json: bool) -> ExitCode:
    """Change the registered name or the contact of LAB at the node that has registered it."""
    stated = {"display_name": display_name, "contact": contact}
    mask = FieldMask(paths=[field for field, value in stated.items() if value is not None])
    if not mask.paths:
        raise click.UsageError(tr("state --display-name, --contact or both"))
    changed = lab_pb2.Lab(name=name, display_name=display_name or "", contact=contact or "")
    request = lab_service_pb2.UpdateLabRequest(lab=changed, update_mask=mask)
    with node.connect() as connection:
        response = connection.labs.UpdateLab(request, timeout=CALL_SECONDS)
    return _show(response.lab, as_json)


@lab.command(cls=NodeCommand, example="91220502MA000LAB8G")
@click.argument("name", type=LAB, metavar="LAB")
@json_option
@click.pass_obj
def get(node: Node, name: str, as_json: bool) -> ExitCode:
    """Show LAB and the history of its standing."""
    with node.connect() as connection:
        response = connection.labs.GetLab(lab_service_pb2.GetLabRequest(name=name), timeout=CALL_SECONDS)
    return _show(response.lab, as_json)


@lab.command("list", cls=NodeCommand, example="--region 220000 --prefix 通化")
@click.option("--region", type=REGION, default="", help="Only in this region and below, GB/T 2260.")
@click.option("--name", default="", help="Only of this registered name. Spaces, case and width do not matter.")
@click.option("--prefix", default="", help="Only of registered names that begin with this.")
@json_option
@click.pass_obj
def list_labs(node: Node, region: str, name: str, prefix: str, as_json: bool) -> ExitCode:
    """List laboratories, for example by the name on a report."""
    request = lab_service_pb2.ListLabsRequest(region=region, display_name=name, display_name_prefix=prefix)
    with node.connect() as connection:
        pages = all_pages(connection.labs.ListLabs, request)
        labs = [lab for page in pages for lab in page.labs]
    if as_json:
        print_json({"labs": [as_dict(lab) for lab in labs]})
    else:
        rows = [(it.name, it.display_name, show_region(it.region), _standing(it.standing), it.contact) for it in labs]
        print_table((tr("lab"), tr("name"), tr("region"), tr("standing"), tr("contact")), rows)
    return ExitCode.DONE


@lab.command(cls=NodeCommand, example='91220502MA000LAB8G suspended --reason "notice 7"')
@click.argument("name", type=LAB, metavar="LAB")
@click.argument("standing", type=STANDING)
@click.option("--reason", required=True, help="The reason, for the history.")
@click.option("--from", "effective_time", type=INSTANT, help="When the standing begins.  [default: now]")
@json_option
@click.pass_obj
def set_standing(
    node: Node, name: str, standing: int, reason: str, effective_time: Timestamp | None, as_json: bool
) -> ExitCode:
    """Change the standing of LAB. Results that it reports while suspended or revoked do not count."""
    request = lab_service_pb2.SetLabStandingRequest(
        name=name,
        standing=lab_pb2.LabStanding.ValueType(standing),
        reason=reason,
        effective_time=effective_time,
    )
    with node.connect() as connection:
        response = connection.labs.SetLabStanding(request, timeout=CALL_SECONDS)
    return _show(response.lab, as_json)


@lab.command(cls=NodeCommand, example="91220502MA000LAB8G lab.pub")
@click.argument("name", type=LAB, metavar="LAB")
@click.argument("public_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--revoked-from", "revoke_time", type=INSTANT, help="Reports dated from here on do not count as signed.")
@json_option
@click.pass_obj
def set_signing_key(node: Node, name: str, public_file: Path, revoke_time: Timestamp | None, as_json: bool) -> ExitCode:
    """Register the public key in PUBLIC_FILE (PEM) with which LAB signs reports, or revoke it."""
    signing_key = lab_pb2.LabSigningKey(public_key=read_public_key(public_file), revoke_time=revoke_time)
    request = lab_service_pb2.SetLabSigningKeyRequest(name=name, signing_key=signing_key)
    with node.connect() as connection:
        response = connection.labs.SetLabSigningKey(request, timeout=CALL_SECONDS)
    return _show(response.lab, as_json)


def _show(shown: lab_pb2.Lab, as_json: bool) -> ExitCode:
    if as_json:
        print_json(shown)
        return ExitCode.DONE
    echo(f"{shown.name}  {shown.display_name}, {show_region(shown.region)}: {_standing(shown.standing)}")
    if shown.contact:
        echo(tr("contact: {contact}", contact=shown.contact))
    rows = [
        (moment(it.effective_time) or tr("no beginning"), _standing(it.standing), it.reason)
        for it in shown.standing_changes
    ]
    if rows:
        print_table((tr("from"), tr("standing"), tr("reason")), rows)
    for key in shown.signing_keys:
        id_, registered = key.key_id.hex(), moment(key.create_time)
        if key.HasField("revoke_time"):
            revoked = moment(key.revoke_time)
            echo(
                tr(
                    "signing key {key}, registered {registered}, revoked from {revoked}",
                    key=id_,
                    registered=registered,
                    revoked=revoked,
                )
            )
        else:
            echo(tr("signing key {key}, registered {registered}", key=id_, registered=registered))
    return ExitCode.DONE


def _standing(number: int) -> str:
    return word(lab_pb2.LabStanding, number, "LAB_STANDING_")
