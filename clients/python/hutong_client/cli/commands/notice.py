"""`hutong notice draft`: a draft notice (通报) from the figures of refusals and of timeliness."""

from __future__ import annotations

from dataclasses import asdict

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1 import timeliness_pb2
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.verification.v1 import refusal_service_pb2
from hutong.verification.v1.refusal_service_pb2 import SummarizeRefusalsRequest, SummarizeRefusalsResponse

from hutong_client.cli.commands.refusals.summary import read_summary
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Group
from hutong_client.cli.notices.draft import draft_notice
from hutong_client.cli.notices.figures import Figures, grouping_below
from hutong_client.cli.options import INSTANT, REGION, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json
from hutong_client.connection import Connection
from hutong_client.paging import all_pages
from hutong_client.tables.regions import NATION

WHOLE = refusal_service_pb2.REFUSAL_GROUPING_WHOLE
PROVINCE = timeliness_pb2.TIMELINESS_GROUPING_PROVINCE
CITY = timeliness_pb2.TIMELINESS_GROUPING_CITY
LAB = timeliness_pb2.TIMELINESS_GROUPING_LAB
VENUE_KIND = refusal_service_pb2.REFUSAL_GROUPING_VENUE_KIND


@click.group(cls=Group)
def notice() -> None:
    """Draft a notice of supervision (通报) from the figures."""


@notice.command(
    cls=NodeCommand, example="--region 410000 --from 2022-08-01T00:00:00+08:00 --to 2022-09-01T00:00:00+08:00"
)
@click.option("--region", type=REGION, required=True, help="The region that the notice is about, GB/T 2260.")
@click.option("--from", "start_time", type=INSTANT, required=True, help="At or after this instant.")
@click.option("--to", "end_time", type=INSTANT, required=True, help="Before this instant.")
@click.option(
    "--late-after-hours",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    help="Hours after which an upload is late.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1, max=99),
    default=5,
    show_default=True,
    help="The most places, kinds of venue and laboratories that each list names, the worst first.",
)
@json_option
@click.pass_obj
def draft(
    node: Node,
    region: str,
    start_time: Timestamp,
    end_time: Timestamp,
    late_after_hours: float,
    most: int,
    as_json: bool,
) -> ExitCode:
    """Print a draft of a notice as plain text, in the language of --lang, for an officer to edit and issue.

    Every sentence states figures of the node, with their denominators: unlawful refusals, overdue answers, late and
    silent laboratories. Nothing is said where a figure is absent. It has no person's words or name.
    """
    interval = Interval(start_time=start_time, end_time=end_time)
    late = Duration(seconds=round(late_after_hours * 3600))
    today = Timestamp()
    today.GetCurrentTime()
    with node.connect() as connection:
        refusals = _read_refusals(connection, region, interval)
        uploads = _read_uploads(connection, region, interval, late)
    made = draft_notice(_figures(region, interval, late, refusals, uploads), today, most)
    if as_json:
        print_json(asdict(made))
    else:
        echo(made.text().rstrip("\n"))
    return ExitCode.DONE


def _read_refusals(connection: Connection, region: str, interval: Interval) -> SummarizeRefusalsResponse:
    below = grouping_below(region)
    request = SummarizeRefusalsRequest(
        region=region, interval=interval, groupings=[WHOLE, VENUE_KIND, *([] if below is None else [below])]
    )
    return read_summary(connection, request)


def _read_uploads(
    connection: Connection, region: str, interval: Interval, late: Duration
) -> SummarizeTimelinessResponse:
    answer = SummarizeTimelinessResponse()
    below = PROVINCE if region == NATION else CITY
    request = SummarizeTimelinessRequest(
        page_size=500, region=region, interval=interval, late_threshold=late, groupings=[below, LAB]
    )
    for page in all_pages(connection.timeliness.SummarizeTimeliness, request):
        answer.MergeFrom(page)
    return answer


def _figures(
    region: str,
    interval: Interval,
    late: Duration,
    refusals: SummarizeRefusalsResponse,
    uploads: SummarizeTimelinessResponse,
) -> Figures:
    rows = refusals.refusal_summaries
    return Figures(
        region,
        interval.start_time,
        interval.end_time,
        late,
        whole=next((row for row in rows if row.grouping == WHOLE), None),
        places=[row for row in rows if row.grouping not in (WHOLE, VENUE_KIND)],
        venue_kinds=[row for row in rows if row.grouping == VENUE_KIND],
        decision_start_time=refusals.decision_start_time if refusals.HasField("decision_start_time") else None,
        uploads=next((row for row in uploads.timeliness if row.HasField("region")), None),
        upload_places=[row for row in uploads.timeliness if row.grouping in (PROVINCE, CITY)],
        labs=[row for row in uploads.timeliness if row.HasField("lab")],
        retention_start_time=uploads.retention_start_time if uploads.HasField("retention_start_time") else None,
    )
