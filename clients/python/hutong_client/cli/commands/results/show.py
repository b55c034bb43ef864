"""`hutong results get` and `list`: results by their names, by laboratory and by person."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1 import lab_pb2, result_pb2
from hutong.results.v1.results_service_pb2 import GetResultRequest, ListResultsRequest
from hutong.type.v1 import identity_pb2, outcome_pb2
from hutong_texts import tr

from hutong_client.cli.case import Metadata, case_option
from hutong_client.cli.commands.lookup import print_results
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.options import (
    INSTANT,
    ITEM,
    LAB,
    Node,
    NodeCommand,
    document_options,
    json_option,
)
from hutong_client.cli.output import echo, labelled, print_json, say
from hutong_client.cli.words import Word
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, item_name, moment, word
from hutong_client.paging import all_pages
from hutong_client.tables.regions import show_region

OUTCOME = Word(outcome_pb2.Outcome, "OUTCOME_")
STATE = Word(result_pb2.ResultState, "RESULT_STATE_")
EXAMPLE_RESULT = "labs/91220502MA000LAB8G/results/R-0001"
"""The name of a result, for the examples in help texts."""


@click.group(cls=Group)
def results() -> None:
    """Show results by their names, and list those of a laboratory or of a person."""


@results.command(cls=NodeCommand, example=f"{EXAMPLE_RESULT} --case 2022-0815")
@click.argument("name", metavar="RESULT")
@case_option
@json_option
@click.pass_obj
def get(node: Node, name: str, metadata: Metadata, as_json: bool) -> ExitCode:
    """Show RESULT, labs/{uscc}/results/{report_number}: its newest revision, or another one with @{revision}."""
    with node.connect() as connection:
        response = connection.results.GetResult(GetResultRequest(name=name), timeout=CALL_SECONDS, metadata=metadata)
    return show_result(response.test_result, as_json)


@results.command("list", cls=NodeCommand, example="--lab 91220502MA000LAB8G --outcome positive --limit 20")
@click.option("--lab", type=LAB, help="Results of this laboratory.")
@document_options(needed=False)
@click.option("--outcome", "outcomes", type=OUTCOME, multiple=True, help="Only with one of these outcomes.")
@click.option(
    "--state", "states", type=STATE, multiple=True, help="Only in one of these states.  [default: active, recalled]"
)
@click.option("--item", "items", type=ITEM, multiple=True, help="Only of one of these test items.")
@click.option("--from", "start_time", type=INSTANT, help="Only reports that were issued at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, help="Only reports that were issued before this instant.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most results to show.")
@case_option
@json_option
@click.pass_obj
def list_results(
    node: Node,
    lab: str | None,
    document: identity_pb2.IdentityDocument | None,
    outcomes: Sequence[int],
    states: Sequence[int],
    items: Sequence[str],
    start_time: Timestamp | None,
    end_time: Timestamp | None,
    limit: int,
    metadata: Metadata,
    as_json: bool,
) -> ExitCode:
    """List results of a laboratory (--lab), or of a person and all linked documents (--number), newest report first.

    A laboratory's results are in order of report number.
    """
    if bool(lab) == bool(document):
        raise click.UsageError(tr("give either --lab or --number"))
    request = ListResultsRequest(
        outcomes=[outcome_pb2.Outcome.ValueType(outcome) for outcome in outcomes],
        states=[result_pb2.ResultState.ValueType(state) for state in states],
        items=items,
        report_interval=Interval(start_time=start_time, end_time=end_time),
    )
    if document:
        request.document.CopyFrom(document)
    else:
        request.lab = lab or ""
    found: list[result_pb2.TestResult] = []
    kept_from = ""
    with node.connect() as connection:
        for page in all_pages(partial(connection.results.ListResults, metadata=metadata), request):
            found += page.test_results
            kept_from = moment(page.retention_start_time)
            if len(found) > limit:
                break
    if kept_from:
        say(tr("Not listed: results reported before {kept_from}, which are no longer kept.", kept_from=kept_from))
    if len(found) > limit:
        say(tr("There are more than {limit:,} results; --limit shows more of them.", limit=limit))
    if as_json:
        print_json({"test_results": [as_dict(it) for it in found[:limit]]})
    elif found:
        print_results(found[:limit])
    else:
        echo(tr("No such result is on record here."))
    return ExitCode.DONE


def show_result(result: result_pb2.TestResult, as_json: bool) -> ExitCode:
    """Print one result: what it says first, then where it comes from."""
    if as_json:
        print_json(result)
        return ExitCode.DONE
    outcome = word(outcome_pb2.Outcome, result.outcome, "OUTCOME_")
    state = word(result_pb2.ResultState, result.state, "RESULT_STATE_")
    echo(
        tr(
            "{name}: {outcome}, {state}, revision {revision}",
            name=result.name,
            outcome=outcome,
            state=state,
            revision=result.revision,
        )
    )
    lines = {
        tr("Person"): f"{result.masked_name} {result.masked_number}".strip(),
        tr("Item"): item_name(result.item),
        tr("Sampled"): tr(
            "{sample_time} in {sample_region} {sample_site}",
            sample_time=moment(result.sample_time),
            sample_region=show_region(result.sample_region),
            sample_site=result.sample_site,
        ).strip(),
        tr("Reported"): moment(result.report_time),
        tr("Uploaded"): moment(result.upload_time),
        tr("At the nation"): moment(result.national_receive_time),
        tr("Tube"): f"{result.tube_code}, {result.pool_size}:1",
        tr("Laboratory"): f"{result.lab}, {word(lab_pb2.LabStanding, result.lab_standing, 'LAB_STANDING_')}",
        tr("Node"): result.source_node,
    }
    for what, text in lines.items():
        if text:
            echo(labelled(what, text))
    return ExitCode.DONE
