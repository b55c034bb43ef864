"""`hutong holder-token`: tokens that a holder shows in place of number and name."""

from __future__ import annotations

from pathlib import Path

import click
from hutong.type.v1 import identity_pb2, purpose_pb2
from hutong.verification.v1.holder_token_service_pb2 import IssueHolderTokenRequest
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import PURPOSE, Node, NodeCommand, document_options, json_option
from hutong_client.cli.output import echo, print_json, say
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import moment


@click.group("holder-token", cls=Group)
def holder_token() -> None:
    """Issue tokens that a holder shows in place of number and name."""


@holder_token.command(cls=NodeCommand, example="--number - --purpose public-venue")
@document_options()
@click.option("--purpose", type=PURPOSE, help="The only purpose for which the token may be shown.  [default: any]")
@click.option(
    "--sign-in-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The bearer token (JWT) of the user who signed in at the app. A node on loopback without TLS needs none.",
)
@json_option
@click.pass_obj
def issue(
    node: Node,
    document: identity_pb2.IdentityDocument,
    purpose: int | None,
    sign_in_file: Path | None,
    as_json: bool,
) -> ExitCode:
    """Issue a token of a document's holder, as a code page does. It is valid for a minute and for one question.

    Standard output has the token alone: hutong verify --token - reads it.
    """
    request = IssueHolderTokenRequest(document=document, purpose=purpose_pb2.Purpose.ValueType(purpose or 0))
    metadata = (("authorization", f"Bearer {sign_in_file.read_text().strip()}"),) if sign_in_file else ()
    with node.connect() as connection:
        issued = connection.holder_tokens.IssueHolderToken(request, metadata=metadata, timeout=CALL_SECONDS)
    if as_json:
        print_json(issued)
    else:
        echo(issued.holder_token)
        say(tr("good until {expire_time}", expire_time=moment(issued.expire_time)))
    return ExitCode.DONE
