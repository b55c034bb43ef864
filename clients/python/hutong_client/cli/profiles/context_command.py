"""`hutong context`: keep the addresses and TLS files of nodes."""

from __future__ import annotations

import click
from hutong_texts import tr

from hutong_client.cli.help import Group
from hutong_client.cli.kept.contexts import ADDRESSES, CONTEXTS, read_context, settings_of
from hutong_client.cli.kept.store import NAME
from hutong_client.cli.options import Node, NodeCommand, json_option, yes_option
from hutong_client.cli.output import confirm, echo, print_json, print_table, say


@click.group(cls=Group)
def context() -> None:
    """Keep the addresses and TLS files of nodes, for `hutong --context NAME` or HUTONG_CONTEXT."""


@context.command(
    "set",
    cls=NodeCommand,
    example="jilin --results results.jl.example:443 --verification verify.jl.example:443 --tls-ca ca.pem",
)
@click.argument("name", type=NAME, shell_complete=CONTEXTS.complete)
@json_option
@click.pass_obj
def set_context(node: Node, name: str, as_json: bool) -> None:
    """Keep the addresses and TLS files that are given as the context NAME, in place of an earlier one."""
    content = settings_of(node.addresses, node.tls)
    if not content:
        raise click.UsageError(tr("give the addresses or TLS files to keep, as --results HOST:PORT"))
    path = CONTEXTS.write(name, content)
    if as_json:
        print_json({"name": name, "file": str(path), **content})
    else:
        say(tr("Kept as {path}", path=path))


@context.command("list", cls=NodeCommand, example="--json")
@json_option
def list_contexts(as_json: bool) -> None:
    """List the kept contexts."""
    contexts = [(name, read_context(name)) for name in CONTEXTS.names()]
    if as_json:
        print_json({"contexts": [{"name": name, **content} for name, content in contexts]})
    else:
        rows = ((name, *(content.get(service, "") for service in ADDRESSES)) for name, content in contexts)
        print_table((tr("name"), *ADDRESSES), rows)


@context.command(cls=NodeCommand, example="jilin")
@click.argument("name", type=NAME, shell_complete=CONTEXTS.complete)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a kept context."""
    content = read_context(name)
    if as_json:
        print_json({"name": name, **content})
    else:
        for key, value in content.items():
            echo(f"{key}: {value}")


@context.command(cls=NodeCommand, example="jilin --yes")
@click.argument("name", type=NAME, shell_complete=CONTEXTS.complete)
@yes_option
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a kept context."""
    if not yes:
        confirm(tr("Remove the context {name}?", name=name))
    CONTEXTS.remove(name)
    if as_json:
        print_json({"name": name})
    else:
        say(tr("Removed {name}", name=name))
