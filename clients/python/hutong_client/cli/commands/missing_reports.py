"""`hutong missing-reports`: reports that people have shown and that no laboratory has uploaded."""

from __future__ import annotations

import click
from hutong.results.v1.missing_report_service_pb2 import ListMissingReportsRequest
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import LAB, Node, NodeCommand, json_option
from hutong_client.cli.output import print_json, print_table
from hutong_client.formatting import as_dict, moment
from hutong_client.paging import all_pages


@click.command("missing-reports", cls=NodeCommand, example="--lab 91220502MA000LAB8G --all")
@click.option("--lab", type=LAB, help="Only reports of this laboratory.")
@click.option("--all", "include_closed", is_flag=True, help="Also reports that were uploaded later.")
@json_option
@click.pass_obj
def missing_reports(node: Node, lab: str | None, include_closed: bool, as_json: bool) -> ExitCode:
    """List missing reports, newest first: their holders have shown them, and no node has a record of them."""
    request = ListMissingReportsRequest(lab=lab or "", include_closed=include_closed)
    with node.connect() as connection:
        found = [
            it
            for page in all_pages(connection.missing_reports.ListMissingReports, request)
            for it in page.missing_reports
        ]
    if as_json:
        print_json({"missing_reports": [as_dict(it) for it in found]})
        return ExitCode.DONE
    if not found:
        click.echo(tr("No report is missing."))
        return ExitCode.DONE
    rows = [
        (
            it.lab,
            it.report_number,
            moment(it.create_time),
            it.raising_node,
            moment(it.close_time) if it.HasField("close_time") else "open",
        )
        for it in found
    ]
    print_table((tr("laboratory"), tr("report"), tr("shown"), tr("at"), tr("uploaded")), rows)
    return ExitCode.DONE
