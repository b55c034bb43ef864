"""`hutong link`, `unlink` and `links`: documents of one person."""

from __future__ import annotations

from functools import partial

import click
from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    ListLinkedDocumentsRequest,
    UnlinkDocumentsRequest,
)
from hutong.results.v1.link_pb2 import DocumentLink
from hutong.type.v1 import identity_pb2
from hutong_texts import english, tr

from hutong_client.cli.case import Metadata, case_option
from hutong_client.cli.commands.pending import describe_waiting
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import Node, NodeCommand, document_options, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages

_TWO_DOCUMENTS = (
    '--number - --linked-type passport --linked-country FRA --linked-number - --reason "saw both documents"'
)


@click.command(cls=NodeCommand, example=_TWO_DOCUMENTS)
@document_options()
@document_options(prefix="linked", whose=english(" of the other document"))
@click.option("--reason", required=True, help="How it is known that both belong to one person, without any identity.")
@case_option
@json_option
@click.pass_obj
def link(
    node: Node,
    document: identity_pb2.IdentityDocument,
    linked_document: identity_pb2.IdentityDocument,
    reason: str,
    metadata: Metadata,
    as_json: bool,
) -> ExitCode:
    """Link two documents of one person. Look-ups by either then find the results of both.

    If both numbers are given as -, standard input has one on each line.
    """
    request = LinkDocumentsRequest(document=document, linked_document=linked_document, reason=reason)
    with node.connect() as connection:
        response = connection.links.LinkDocuments(request, timeout=CALL_SECONDS, metadata=metadata)
    return _show(response.document_link, as_json)


@click.command(cls=NodeCommand, example=_TWO_DOCUMENTS.replace("saw both documents", "two persons"))
@document_options()
@document_options(prefix="linked", whose=english(" of the other document"))
@click.option("--reason", required=True, help="Why the link is removed, without any identity.")
@case_option
@json_option
@click.pass_obj
def unlink(
    node: Node,
    document: identity_pb2.IdentityDocument,
    linked_document: identity_pb2.IdentityDocument,
    reason: str,
    metadata: Metadata,
    as_json: bool,
) -> ExitCode:
    """Remove the link between two documents. Its history is kept. A supervisor's unlinking needs a second approver."""
    request = UnlinkDocumentsRequest(document=document, linked_document=linked_document, reason=reason)
    with node.connect() as connection:
        response = connection.links.UnlinkDocuments(request, timeout=CALL_SECONDS, metadata=metadata)
    if response.HasField("pending_change"):
        if as_json:
            print_json(response)
        else:
            echo(describe_waiting(response.pending_change))
        return ExitCode.DONE
    return _show(response.document_link, as_json)


@click.command(cls=NodeCommand, example="--number - --case 2022-0815")
@document_options()
@case_option
@json_option
@click.pass_obj
def links(node: Node, document: identity_pb2.IdentityDocument, metadata: Metadata, as_json: bool) -> ExitCode:
    """List the links of a document, newest first, also those that were removed."""
    with node.connect() as connection:
        method = partial(connection.links.ListLinkedDocuments, metadata=metadata)
        pages = all_pages(method, ListLinkedDocumentsRequest(document=document))
        found = [it for page in pages for it in page.document_links]
    if as_json:
        print_json({"document_links": [as_dict(it) for it in found]})
    elif not found:
        echo(tr("The document is linked with no other."))
    else:
        rows = [
            (
                _document(it.type, it.masked_number),
                _document(it.linked_type, it.linked_masked_number),
                moment(it.create_time),
                it.reason,
                moment(it.unlink_time),
                it.unlink_reason,
                it.name,
            )
            for it in found
        ]
        print_table(
            (
                tr("document"),
                tr("other document"),
                tr("linked"),
                tr("reason"),
                tr("removed"),
                tr("why removed"),
                tr("link"),
            ),
            rows,
        )
    return ExitCode.DONE


def _show(shown: DocumentLink, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"document_link": as_dict(shown)})
        return ExitCode.DONE
    first = _document(shown.type, shown.masked_number)
    second = _document(shown.linked_type, shown.linked_masked_number)
    if shown.HasField("unlink_time"):
        echo(tr("{name}: {first} and {second}, removed", name=shown.name, first=first, second=second))
    else:
        echo(tr("{name}: {first} and {second}, linked", name=shown.name, first=first, second=second))
    return ExitCode.DONE


def _document(kind: int, masked: str) -> str:
    return f"{word(identity_pb2.DocumentType, kind, 'DOCUMENT_TYPE_')} {masked}".strip()
