"""`hutong uploads get`, `nodes` and `audit-heads`: what has arrived from laboratories and from other nodes.

`hutong retire-node` and `hutong reinstate-node` say whether the silence of a node counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.audit.v1.audit_head_pb2 import AuditChain
from hutong.exchange.v1.exchange_service_pb2 import (
    HeldAuditHead,
    ListAuditHeadsRequest,
    ListNodesRequest,
    ReinstateNodeRequest,
    RetireNodeRequest,
)
from hutong.exchange.v1.node_pb2 import Node as ExchangeNode
from hutong.exchange.v1.node_pb2 import SetAsideReason
from hutong.results.v1.lookup_pb2 import SourceState
from hutong.results.v1.upload_service_pb2 import GetUploadRequest
from hutong_texts import list_words, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.exports.options import Exports, export_options
from hutong_client.cli.exports.sheet import SECONDS, Column, Sheet, Value, span_value, time_value
from hutong_client.cli.help import Group
from hutong_client.cli.options import Node, NodeCommand, html_option, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.cli.pages.frame import write_page
from hutong_client.cli.pages.nodes import nodes_page
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages


@click.group(cls=Group)
def uploads() -> None:
    """Show what a node has stored of a laboratory's uploads."""


@uploads.command(cls=NodeCommand, example="labs/91220502MA000LAB8G/uploads/0190a5e2-7c00-7000-8000-000000000001")
@click.argument("name", metavar="UPLOAD")
@json_option
@click.pass_obj
def get(node: Node, name: str, as_json: bool) -> ExitCode:
    """Show UPLOAD, labs/{uscc}/uploads/{upload_id}. The id stands in FILE.hutong-upload.json."""
    with node.connect() as connection:
        upload = connection.uploads.GetUpload(GetUploadRequest(name=name), timeout=CALL_SECONDS).upload
    if as_json:
        print_json(upload)
        return ExitCode.DONE
    echo(
        tr(
            "{name}: accepted {accepted_count:,}, duplicates {duplicate_count:,}, rejected {rejected_count:,}",
            name=upload.name,
            accepted_count=upload.accepted_count,
            duplicate_count=upload.duplicate_count,
            rejected_count=upload.rejected_count,
        )
    )
    echo(tr("  Tubes committed: {committed_offset:,}", committed_offset=upload.committed_offset))
    echo(
        tr(
            "  From {create_time} to {update_time}",
            create_time=moment(upload.create_time),
            update_time=moment(upload.update_time),
        )
    )
    return ExitCode.DONE


@click.command(cls=NodeCommand, example="--results nation.example.org:50051")
@html_option
@export_options
@json_option
@click.pass_obj
def nodes(node: Node, html_path: Path | None, exports: Exports, as_json: bool) -> ExitCode:
    """List the nodes below this one, at any depth: how far behind each is, and since when it is silent."""
    if html_path and as_json:
        raise click.UsageError(tr("give either --html or --json"))
    asked_time = Timestamp()
    asked_time.GetCurrentTime()
    with node.connect() as connection:
        found = [it for page in all_pages(connection.exchange.ListNodes, ListNodesRequest()) for it in page.nodes]
    if as_json:
        print_json({"nodes": [as_dict(it) for it in found]})
    elif html_path or exports:
        if html_path:
            write_page(html_path, nodes_page(found, asked_time))
        exports.write(_node_sheet(found))
    elif not found:
        echo(tr("No node replicates to this one."))
    else:
        _node_sheet(found).show()
    return ExitCode.DONE


def _node_sheet(found: Sequence[ExchangeNode]) -> Sheet:
    """Return the table of nodes."""
    columns = (
        Column(tr("node")),
        Column(tr("through")),
        Column(tr("state")),
        Column(tr("as of")),
        Column(tr("lag")),
        Column(tr("last contact")),
        Column(tr("silent since")),
        Column(tr("backlog")),
        Column(tr("clock ahead, s"), SECONDS),
        Column(tr("conflicts")),
        Column(tr("set aside")),
        Column(tr("retired")),
    )
    return Sheet(tr("nodes"), columns, [node_row(it) for it in found])


def node_row(it: ExchangeNode) -> tuple[Value, ...]:
    """Return the row of a node."""
    set_aside = (f"{aside.count:,} {word(SetAsideReason, aside.reason, 'SET_ASIDE_REASON_')}" for aside in it.set_aside)
    return (
        it.name,
        " / ".join(it.path) or it.relaying_node,
        word(SourceState, it.state, "SOURCE_STATE_"),
        time_value(it.as_of_time),
        span_value(it.lag) if it.HasField("lag") else None,
        time_value(it.contact_time),
        time_value(it.silence_start_time),
        it.backlog,
        it.clock_skew.ToTimedelta().total_seconds() if it.HasField("clock_skew") else None,
        it.conflict_count if it.HasField("clock_skew") else None,
        list_words(set_aside),
        f"{moment(it.retire_time)}: {it.retire_reason}" if it.HasField("retire_time") else "",
    )


@click.command(cls=NodeCommand, example='nodes/220000 --reason "closed for good" --results nation.example.org:50051')
@click.argument("name", metavar="NODE")
@click.option("--reason", required=True, help="Why the node does not come back, without any identity.")
@json_option
@click.pass_obj
def retire_node(node: Node, name: str, reason: str, as_json: bool) -> ExitCode:
    """Retire NODE, nodes/{region}, which no longer answers. Its silence then leaves no decision undetermined.

    Its stored results stay valid. The retirement ends when the node replicates again, or by reinstate-node. Only the
    node directly above NODE retires it: `hutong nodes` shows that one under “through”.
    """
    request = RetireNodeRequest(name=name, reason=reason)
    with node.connect() as connection:
        retired = connection.exchange.RetireNode(request, timeout=CALL_SECONDS).node
    return _show(retired, as_json)


@click.command(cls=NodeCommand, example="nodes/220000 --results nation.example.org:50051")
@click.argument("name", metavar="NODE")
@json_option
@click.pass_obj
def reinstate_node(node: Node, name: str, as_json: bool) -> ExitCode:
    """End the retirement of NODE, nodes/{region}. Its silence counts again."""
    request = ReinstateNodeRequest(name=name)
    with node.connect() as connection:
        reinstated = connection.exchange.ReinstateNode(request, timeout=CALL_SECONDS).node
    return _show(reinstated, as_json)


def _show(it: ExchangeNode, as_json: bool) -> ExitCode:
    if as_json:
        print_json(it)
    elif it.HasField("retire_time"):
        echo(
            tr(
                "{name}: retired since {retire_time}, last contact {contact_time}",
                name=it.name,
                retire_time=moment(it.retire_time),
                contact_time=moment(it.contact_time),
            )
        )
    else:
        echo(tr("{name}: not retired, last contact {contact_time}", name=it.name, contact_time=moment(it.contact_time)))
    return ExitCode.DONE


@click.command("audit-heads", cls=NodeCommand, example="nodes/410000 --results nation.example.org:50051")
@click.argument("name", metavar="NODE")
@json_option
@click.pass_obj
def audit_heads(node: Node, name: str, as_json: bool) -> ExitCode:
    """List the heads that NODE, nodes/{region}, has sent of its audits. `hutongd audit verify --head` takes each."""
    request = ListAuditHeadsRequest(node=name)
    with node.connect() as connection:
        found = [it for page in all_pages(connection.exchange.ListAuditHeads, request) for it in page.audit_heads]
    if as_json:
        print_json({"audit_heads": [as_dict(it) for it in found]})
    elif not found:
        echo(tr("The node has sent no head."))
    else:
        print_table((tr("head"), tr("chain"), tr("received")), map(_head_row, found))
    return ExitCode.DONE


def _head_row(it: HeldAuditHead) -> tuple[str, ...]:
    head = it.audit_head
    text = f"{head.service}:{int(head.chain)}:{head.number}:{head.head.hex()}"
    return text, word(AuditChain, head.chain, "AUDIT_CHAIN_"), moment(it.receive_time)
