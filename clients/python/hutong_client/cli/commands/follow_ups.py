"""`hutong follow-ups`: reports that people have shown and that no laboratory has uploaded."""

from __future__ import annotations

import click
from hutong.results.v1.results_service_pb2 import ListFollowUpsRequest

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import LAB, Node, NodeCommand, json_option
from hutong_client.cli.output import print_json, print_table
from hutong_client.formatting import as_dict, moment
from hutong_client.paging import all_pages


@click.command("follow-ups", cls=NodeCommand)
@click.option("--lab", type=LAB, help="Only reports of this laboratory.")
@click.option("--all", "include_closed", is_flag=True, help="Also those that have come in since.")
@json_option
@click.pass_obj
def follow_ups(node: Node, lab: str | None, include_closed: bool, as_json: bool) -> ExitCode:
    """List reports to be chased, newest first: their holders have shown them, and no node has a record of them."""
    request = ListFollowUpsRequest(lab=lab or "", include_closed=include_closed)
    with node.connect() as connection:
        found = [it for page in all_pages(connection.results.ListFollowUps, request) for it in page.follow_ups]
    if as_json:
        print_json({"follow_ups": [as_dict(it) for it in found]})
        return ExitCode.DONE
    if not found:
        click.echo("Nothing to chase.")
        return ExitCode.DONE
    rows = [
        (
            it.lab,
            it.report_number,
            moment(it.create_time),
            it.raised_by,
            moment(it.close_time) if it.HasField("close_time") else "open",
        )
        for it in found
    ]
    print_table(("laboratory", "report", "shown", "at", "came in"), rows)
    return ExitCode.DONE
