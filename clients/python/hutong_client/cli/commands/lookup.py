"""`hutong lookup`: the recorded results of one person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
from hutong.results.v1 import lab_pb2, lookup_pb2, result_pb2, results_service_pb2
from hutong.type.v1 import identity_pb2, outcome_pb2
from hutong_texts import english, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import describe_next_step
from hutong_client.cli.options import ITEM, Node, NodeCommand, document_options, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import item_name, moment, source_name, word
from hutong_client.tables.regions import show_region

_COLUMNS = (
    english("report"),
    english("item"),
    english("outcome"),
    english("sampled"),
    english("reported"),
    english("region"),
    english("pool"),
    english("lab's standing"),
    english("state"),
)


@click.command(cls=NodeCommand, example="--type passport --country FRA --number - --nationwide")
@document_options()
@click.option("--nationwide", is_flag=True, help="Ask the national node too.")
@click.option(
    "--limit", type=click.IntRange(1, 20), default=3, show_default=True, help="Results from each side of the region."
)
@click.option(
    "--item",
    "items",
    type=ITEM,
    multiple=True,
    help="A test item to look up, as sars-cov-2-antigen; repeatable.  [default: sars-cov-2-nucleic-acid]",
)
@json_option
@click.pass_obj
def lookup(
    node: Node,
    document: identity_pb2.IdentityDocument,
    nationwide: bool,
    limit: int,
    items: Sequence[str],
    as_json: bool,
) -> ExitCode:
    """Show a person's newest results, sampled inside and outside the node's region.

    "Nothing on record" does not mean "not tested".
    """
    scope = lookup_pb2.LOOKUP_SCOPE_NATIONWIDE if nationwide else lookup_pb2.LOOKUP_SCOPE_LOCAL
    request = results_service_pb2.LookupLatestRequest(document=document, scope=scope, limit=limit, items=items)
    with node.connect() as connection:
        response = connection.results.LookupLatest(request, timeout=CALL_SECONDS)
    if as_json:
        print_json(response)
        return ExitCode.DONE
    shown = [*response.in_region, *response.out_of_region]
    if shown:
        echo(f"{shown[0].masked_name} {shown[0].masked_number}".strip())
        print_results(response.in_region, tr("Sampled in this region"))
        print_results(response.out_of_region, tr("Sampled elsewhere"))
    else:
        echo(tr("Nothing on record here. That does not mean that the person was not tested."))
    for source in describe_sources(response.sources):
        echo(source)
    for next_step in response.next_steps:
        echo(tr("To do: {description}", description=describe_next_step(next_step)))
    return ExitCode.DONE


def describe_sources(sources: Iterable[lookup_pb2.DataSource]) -> list[str]:
    """Describe each source that was asked in one line: its state and its as-of time."""
    lines = []
    for source in sources:
        state = word(lookup_pb2.SourceState, source.state, "SOURCE_STATE_")
        as_of = (
            tr(", as of {as_of_time}", as_of_time=moment(source.as_of_time)) if source.HasField("as_of_time") else ""
        )
        lines.append(tr("Source {source}: {state}{as_of}", source=source_name(source), state=state, as_of=as_of))
    return lines


def print_results(results: Sequence[result_pb2.TestResult], title: str = "") -> None:
    """Print results as a table; nothing if there are none."""
    if results:
        print_table([*map(tr, _COLUMNS)], map(_row, results), title)


def _row(result: result_pb2.TestResult) -> tuple[str, ...]:
    return (
        result.name,
        item_name(result.item),
        word(outcome_pb2.Outcome, result.outcome, "OUTCOME_"),
        moment(result.sample_time),
        moment(result.report_time),
        show_region(result.sample_region),
        f"{result.pool_size}:1",
        word(lab_pb2.LabStanding, result.lab_standing, "LAB_STANDING_"),
        word(result_pb2.ResultState, result.state, "RESULT_STATE_"),
    )
