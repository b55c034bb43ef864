"""`hutong correct` and `recall`: changes of stored results."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import click
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.type.v1 import outcome_pb2
from hutong_texts import tr

from hutong_client.cli.commands.pending import describe_waiting
from hutong_client.cli.commands.results.show import EXAMPLE_RESULT, OUTCOME, show_result
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import help_text
from hutong_client.cli.options import INSTANT, ITEM, LAB, Node, NodeCommand, json_option, yes_option
from hutong_client.cli.output import confirm, echo, print_json, say
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict

_RECALL_SECONDS = 600.0
"""Timeout of a recall. It works in steps of many results and takes longer than other calls."""


@click.command(cls=NodeCommand, example=f'{EXAMPLE_RESULT} --outcome negative --reason "the tube was mixed up"')
@click.argument("name", metavar="RESULT")
@click.option(
    "--outcome",
    type=OUTCOME,
    required=True,
    help=help_text("The correct outcome: {words}.", words=OUTCOME),
)
@click.option("--sample-time", type=INSTANT, help="The correct sampling time.  [default: as it is]")
@click.option("--reissue-time", type=INSTANT, help="When a new report was issued.  [default: none was]")
@click.option("--item", type=ITEM, help="The correct test item.  [default: as it is]")
@click.option("--reason", required=True, help="Why, without any identity.")
@json_option
@click.pass_obj
def correct(
    node: Node,
    name: str,
    outcome: int,
    sample_time: Timestamp | None,
    reissue_time: Timestamp | None,
    item: str | None,
    reason: str,
    as_json: bool,
) -> ExitCode:
    """Correct RESULT, labs/{uscc}/results/{report_number}, by a new revision. The old one is kept.

    Another person's result cannot be corrected: recall it and upload it again.
    """
    request = CorrectResultRequest(
        name=name,
        outcome=outcome_pb2.Outcome.ValueType(outcome),
        sample_time=sample_time,
        reissue_time=reissue_time,
        item=item or "",
        reason=reason,
    )
    with node.connect() as connection:
        response = connection.results_admin.CorrectResult(request, timeout=CALL_SECONDS)
    if as_json:
        print_json({"test_result": as_dict(response.test_result), "consistency_token": response.consistency_token})
        return ExitCode.DONE
    return show_result(response.test_result, as_json=False)


@click.command(
    cls=NodeCommand,
    example="91220502MA000LAB8G --from 2022-08-09T00:00:00+08:00 --to 2022-08-10T00:00:00+08:00"
    ' --reason "contaminated reagents"',
)
@click.argument("lab", type=LAB, metavar="LAB")
@click.option("--from", "start_time", type=INSTANT, required=True, help="Reports issued at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, required=True, help="Reports issued before this instant.")
@click.option("--outcome", "outcomes", type=OUTCOME, multiple=True, help="Only with one of these outcomes.")
@click.option("--item", "items", type=ITEM, multiple=True, help="Only of one of these test items.")
@click.option("--reason", required=True, help="Why, without any identity.")
@click.option("--validate-only", is_flag=True, help="Count what would be recalled, and recall nothing.")
@yes_option
@json_option
@click.pass_obj
def recall(
    node: Node,
    lab: str,
    start_time: Timestamp,
    end_time: Timestamp,
    outcomes: Sequence[int],
    items: Sequence[str],
    reason: str,
    validate_only: bool,
    yes: bool,
    as_json: bool,
) -> ExitCode:
    """Recall the reports that LAB issued in an interval. They are counted first, and the command asks.

    A recall of more than 1,000 results waits for a second approver. A recall that was cut off is finished by the same
    command.
    """
    request = RecallResultsRequest(
        lab=lab,
        report_interval=Interval(start_time=start_time, end_time=end_time),
        outcomes=[outcome_pb2.Outcome.ValueType(outcome) for outcome in outcomes],
        items=items,
        reason=reason,
        validate_only=True,
    )
    with node.connect() as connection:
        counted = connection.results_admin.RecallResults(request, timeout=_RECALL_SECONDS)
        if validate_only or not counted.recalled_count:
            return _tell(counted.recalled_count, tr("would be recalled"), as_json)
        say(
            tr("{recalled_count:,} results of {lab} would be recalled.", recalled_count=counted.recalled_count, lab=lab)
        )
        if not yes:
            confirm(tr("Recall {recalled_count:,} results?", recalled_count=counted.recalled_count))
        request.validate_only = False
        request.request_id = str(uuid.uuid4())
        response = connection.results_admin.RecallResults(request, timeout=_RECALL_SECONDS)
    if as_json:
        print_json({"recalled_count": str(response.recalled_count), **as_dict(response)})
        return ExitCode.DONE
    if response.HasField("pending_change"):
        echo(describe_waiting(response.pending_change))
        return ExitCode.DONE
    return _tell(response.recalled_count, tr("were recalled"), as_json=False)


def _tell(count: int, what: str, as_json: bool) -> ExitCode:
    if as_json:
        # Proto JSON writes 64-bit numbers as text.
        print_json({"recalled_count": str(count)})
    else:
        echo(tr("{count:,} results {what}.", count=count, what=what))
    return ExitCode.DONE
