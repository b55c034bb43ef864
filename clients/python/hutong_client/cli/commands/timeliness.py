"""`hutong timeliness`: how long laboratories take to upload their reports."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.lab_service_pb2 import GetLabRequest, ListLabsRequest
from hutong.results.v1.timeliness_pb2 import DelayQuantiles
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import INSTANT, LAB, REGION, Node, NodeCommand, html_option, json_option
from hutong_client.cli.output import print_json, print_table, say
from hutong_client.cli.pages.frame import write_page
from hutong_client.cli.pages.timeliness import Asked, timeliness_page
from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.formatting import moment, span
from hutong_client.paging import all_pages
from hutong_client.tables.regions import show_region


@click.command(
    cls=NodeCommand, example="--region 220000 --from 2022-08-09T00:00:00+08:00 --to 2022-08-10T00:00:00+08:00"
)
@click.option("--lab", type=LAB, help="One laboratory.")
@click.option("--region", type=REGION, help="All laboratories of a region, GB/T 2260.")
@click.option("--from", "start_time", type=INSTANT, required=True, help="Reports issued at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, required=True, help="Reports issued before this instant.")
@click.option(
    "--late-after-hours",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    help="Hours after which an upload is late.",
)
@html_option
@json_option
@click.pass_obj
def timeliness(
    node: Node,
    lab: str | None,
    region: str | None,
    start_time: Timestamp,
    end_time: Timestamp,
    late_after_hours: float,
    html_path: Path | None,
    as_json: bool,
) -> ExitCode:
    """Show how long reports took until upload and until the national node had them, for a laboratory or a region."""
    if bool(lab) == bool(region):
        raise click.UsageError(tr("give either --lab or --region"))
    if html_path and as_json:
        raise click.UsageError(tr("give either --html or --json"))
    request = SummarizeTimelinessRequest(
        lab=lab,  # type: ignore[arg-type] # None leaves it unset, which the stubs do not know
        region=region,  # type: ignore[arg-type]
        interval=Interval(start_time=start_time, end_time=end_time),
        late_threshold=Duration(seconds=round(late_after_hours * 3600)),
    )
    with node.connect() as connection:
        response = SummarizeTimelinessResponse()
        for page in all_pages(connection.timeliness.SummarizeTimeliness, request):
            response.MergeFrom(page)
        response.ClearField("next_page_token")
        if response.HasField("retention_start_time"):
            kept_from = moment(response.retention_start_time)
            say(tr("Not counted: reports issued before {kept_from}, which are no longer kept.", kept_from=kept_from))
        if html_path:
            names = _lab_names(connection, lab, region or "")
            asked = Asked(lab or region or "", start_time, end_time, request.late_threshold, names)
            write_page(html_path, timeliness_page(response.timeliness, asked))
            return ExitCode.DONE
    if as_json:
        print_json(response)
        return ExitCode.DONE
    rows = [
        (
            it.lab or show_region(it.region),
            str(it.result_count),
            *_quantiles(it.report_to_upload),
            *_quantiles(it.upload_to_nationwide),
            str(it.late_count),
            moment(it.last_upload_time),
        )
        for it in response.timeliness
    ]
    columns = (
        tr("subject"),
        tr("results"),
        tr("upload p50"),
        "p95",
        "p99",
        tr("nationwide p50"),
        "p95",
        "p99",
        tr("late"),
        tr("last upload"),
    )
    print_table(columns, rows)
    return ExitCode.DONE


def _lab_names(connection: Connection, lab: str | None, region: str) -> dict[str, str]:
    """Read the laboratories' display names, by "labs/{uscc}"."""
    if lab:
        named = [connection.labs.GetLab(GetLabRequest(name=lab), timeout=CALL_SECONDS).lab]
    else:
        pages = all_pages(connection.labs.ListLabs, ListLabsRequest(region=region, page_size=500))
        named = [one for page in pages for one in page.labs]
    return {one.name: one.display_name for one in named if one.display_name}


def _quantiles(delays: DelayQuantiles) -> tuple[str, str, str]:
    if not delays.HasField("p50"):
        return ("", "", "")
    return (span(delays.p50), span(delays.p95), span(delays.p99))
