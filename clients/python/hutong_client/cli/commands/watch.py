"""`hutong watch results` and `policies`: changes as they are made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from hutong.policy.v1.policy_service_pb2 import (
    PolicyEvent,
    PolicyEventType,
    WatchPoliciesRequest,
    WatchPoliciesResponse,
)
from hutong.results.v1.result_pb2 import ResultState, TestResult
from hutong.results.v1.results_service_pb2 import ResultFilter, WatchResultsRequest, WatchResultsResponse
from hutong.type.v1 import outcome_pb2
from hutong_texts import tr

from hutong_client.cli.commands.results.show import OUTCOME
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import ITEM, LAB, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json_line
from hutong_client.formatting import as_dict, item_name, moment, word
from hutong_client.policies.rules import describe_requirement
from hutong_client.private_files import replace_privately
from hutong_client.tables.regions import show_region
from hutong_client.watches import watch as watch_for_ever

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(cls=Group)
def watch() -> None:
    """Print changes as they are made, until Ctrl-C. Each change is a line; with --json so is each heartbeat."""


def _watch_options(command: Command) -> Command:
    """Add the options of both watches."""
    command = click.option("--until-current", is_flag=True, help="End as soon as everything until now is printed.")(
        command
    )
    command = click.option(
        "--cursor-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Go on after the cursor in this file, if it exists, and keep the newest cursor in it.",
    )(command)
    return click.option("--cursor", default="", help="Go on after this cursor.  [default: from the beginning]")(command)


@watch.command(cls=NodeCommand, example="--lab 91220502MA000LAB8G --cursor-file results.cursor --json")
@click.option("--lab", "labs", type=LAB, multiple=True, help="Only results of one of these laboratories.")
@click.option("--region", type=REGION, default="", help="Only results sampled in this region and below, GB/T 2260.")
@click.option("--outcome", "outcomes", type=OUTCOME, multiple=True, help="Only with one of these outcomes.")
@click.option("--item", "items", type=ITEM, multiple=True, help="Only of one of these test items.")
@_watch_options
@json_option
@click.pass_obj
def results(
    node: Node,
    labs: Sequence[str],
    region: str,
    outcomes: Sequence[int],
    items: Sequence[str],
    cursor: str,
    cursor_file: Path | None,
    until_current: bool,
    as_json: bool,
) -> ExitCode:
    """Print each new revision of a result, from the beginning of the kept log or after a cursor."""
    wanted = ResultFilter(
        labs=labs,
        sample_region=region,
        outcomes=[outcome_pb2.Outcome.ValueType(outcome) for outcome in outcomes],
        items=items,
    )
    request = WatchResultsRequest(cursor=_first_cursor(cursor, cursor_file))
    if wanted.ByteSize():
        request.filter.CopyFrom(wanted)
    with node.connect() as connection, _keeping(cursor_file, request):
        message: WatchResultsResponse
        for message in watch_for_ever(connection.results.WatchResults, request):
            if as_json:
                print_json_line(as_dict(message))
            elif message.HasField("change"):
                echo(_describe_result(message.change))
            if message.HasField("checkpoint"):
                request.cursor = message.cursor
                _keep(cursor_file, request.cursor)
                if until_current and message.checkpoint.HasField("as_of_time"):
                    break
    return ExitCode.DONE


@watch.command(cls=NodeCommand, example="--cursor-file policies.cursor")
@_watch_options
@json_option
@click.pass_obj
def policies(node: Node, cursor: str, cursor_file: Path | None, until_current: bool, as_json: bool) -> ExitCode:
    """Print every policy, and then each publication and withdrawal; after a cursor only what came since.

    A node with identified callers answers this to its own services and to nodes alone.
    """
    request = WatchPoliciesRequest(cursor=_first_cursor(cursor, cursor_file))
    with node.connect() as connection, _keeping(cursor_file, request):
        message: WatchPoliciesResponse
        for message in watch_for_ever(connection.policies.WatchPolicies, request):
            if as_json:
                print_json_line(as_dict(message))
            elif message.HasField("event"):
                echo(_describe_policy(message.event))
            if message.HasField("checkpoint"):
                request.cursor = message.cursor
                _keep(cursor_file, request.cursor)
                if until_current:
                    break
    return ExitCode.DONE


def _first_cursor(cursor: str, file: Path | None) -> str:
    """Return the given cursor; without one, the cursor in the file; without either, an empty text."""
    if cursor or file is None or not file.exists():
        return cursor
    return file.read_text(encoding="utf-8").strip()


@contextlib.contextmanager
def _keeping(file: Path | None, request: WatchResultsRequest | WatchPoliciesRequest) -> Iterator[None]:
    """When the block ends, also by Ctrl-C, write the cursor of the last printed message to the file."""
    first = request.cursor
    try:
        yield
    finally:
        # The watch sets the request's cursor once a message is printed.
        if request.cursor != first:
            _keep(file, request.cursor)


def _keep(file: Path | None, cursor: str) -> None:
    """Write the cursor to the file. After a crash, the changes since the last heartbeat are printed again."""
    if file:
        with replace_privately(file) as content:
            content.write(cursor + "\n")


def _describe_result(result: TestResult) -> str:
    outcome = word(outcome_pb2.Outcome, result.outcome, "OUTCOME_")
    state = word(ResultState, result.state, "RESULT_STATE_")
    return (
        f"{moment(result.upload_time)}  {outcome}, {state}  {result.name}@{result.revision}"
        f"  {item_name(result.item)}  {show_region(result.sample_region)}"
    )


def _describe_policy(event: PolicyEvent) -> str:
    policy = event.policy
    kind = word(PolicyEventType, event.type, "POLICY_EVENT_TYPE_")
    withdrawn = tr(", withdrawn") if policy.HasField("withdraw_time") else ""
    return tr(
        "{kind}  {name}{withdrawn}: {policy}, from {effective_start_time}",
        kind=kind,
        name=policy.name,
        withdrawn=withdrawn,
        policy=describe_requirement(policy),
        effective_start_time=moment(policy.effective_start_time),
    )
