"""`hutong timeliness`: how long laboratories take to upload their reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.timeliness_pb2 import (
    TIMELINESS_GROUPING_WHOLE,
    DelayQuantiles,
    Timeliness,
    TimelinessGrouping,
)
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.type.v1 import summary_period_pb2
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.exports.options import Exports, export_options
from hutong_client.cli.exports.sheet import SHARE, Column, Sheet, Value, span_value, time_value
from hutong_client.cli.help import help_text
from hutong_client.cli.options import INSTANT, LAB, REGION, Node, NodeCommand, html_option, json_option
from hutong_client.cli.output import print_json, say
from hutong_client.cli.pages.frame import write_page
from hutong_client.cli.pages.timeliness import Asked, timeliness_page
from hutong_client.cli.words import Word
from hutong_client.connection import Connection
from hutong_client.formatting import moment, word
from hutong_client.paging import all_pages
from hutong_client.tables.regions import full_name

GROUPING = Word(TimelinessGrouping, "TIMELINESS_GROUPING_")
PERIOD = Word(summary_period_pb2.SummaryPeriod, "SUMMARY_PERIOD_")


@click.command(
    cls=NodeCommand, example="--region 220000 --from 2022-08-09T00:00:00+08:00 --to 2022-08-10T00:00:00+08:00"
)
@click.option("--lab", type=LAB, help="One laboratory.")
@click.option("--region", type=REGION, help="All laboratories of a region, GB/T 2260.")
@click.option("--from", "start_time", type=INSTANT, required=True, help="Reports issued at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, required=True, help="Reports issued before this instant.")
@click.option(
    "--group",
    "groupings",
    type=GROUPING,
    multiple=True,
    help=help_text("The rows below that of the region: {words}; may be repeated.  [default: lab]", words=GROUPING),
)
@click.option("--by", "period", type=PERIOD, help="One row per day, week or month.  [default: one in all]")
@click.option(
    "--late-after-hours",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    help="Hours after which an upload is late.",
)
@click.option(
    "--silent-after-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=24.0,
    show_default=True,
    help="Hours without an upload after which a laboratory is silent.",
)
@html_option
@export_options
@json_option
@click.pass_obj
def timeliness(
    node: Node,
    lab: str | None,
    region: str | None,
    start_time: Timestamp,
    end_time: Timestamp,
    groupings: Sequence[int],
    period: int | None,
    late_after_hours: float,
    silent_after_hours: float,
    html_path: Path | None,
    exports: Exports,
    as_json: bool,
) -> ExitCode:
    """Show how long reports took until upload and until the national node had them, for a laboratory or a region.

    The table names laboratories that are silent, and whom to ask. A page also has a chart over time, by day unless --by
    is given.
    """
    if bool(lab) == bool(region):
        raise click.UsageError(tr("give either --lab or --region"))
    if html_path and as_json:
        raise click.UsageError(tr("give either --html or --json"))
    request = SummarizeTimelinessRequest(
        page_size=500,
        lab=lab,  # type: ignore[arg-type] # None leaves it unset, which the stubs do not know
        region=region,  # type: ignore[arg-type]
        interval=Interval(start_time=start_time, end_time=end_time),
        late_threshold=Duration(seconds=round(late_after_hours * 3600)),
        silent_after=Duration(seconds=max(round(silent_after_hours * 3600), 1)),
        groupings=[TimelinessGrouping.ValueType(grouping) for grouping in dict.fromkeys(groupings)],
        period=summary_period_pb2.SummaryPeriod.ValueType(period or 0),
    )
    with node.connect() as connection:
        response = _summarize(connection, request)
        if response.HasField("retention_start_time"):
            kept_from = moment(response.retention_start_time)
            say(tr("Not counted: reports issued before {kept_from}, which are no longer kept.", kept_from=kept_from))
        if html_path:
            write_page(html_path, _page(connection, request))
    if exports:
        exports.write(_sheet(response.timeliness, by_period=bool(period)))
    elif as_json:
        print_json(response)
    elif not html_path:
        _sheet(response.timeliness, by_period=bool(period)).show()
    return ExitCode.DONE


def _summarize(connection: Connection, request: SummarizeTimelinessRequest) -> SummarizeTimelinessResponse:
    """Read all pages as one answer."""
    response = SummarizeTimelinessResponse()
    for page in all_pages(connection.timeliness.SummarizeTimeliness, request):
        response.MergeFrom(page)
    response.ClearField("next_page_token")
    return response


def _page(connection: Connection, request: SummarizeTimelinessRequest) -> str:
    """Return the page of a request: its rows without a period, and the trend of the whole."""
    whole, trend = SummarizeTimelinessRequest(), SummarizeTimelinessRequest()
    whole.CopyFrom(request)
    whole.period = summary_period_pb2.SUMMARY_PERIOD_UNSPECIFIED
    trend.CopyFrom(request)
    trend.period = request.period or summary_period_pb2.SUMMARY_PERIOD_DAY
    trend.groupings[:] = [TIMELINESS_GROUPING_WHOLE]
    found = _summarize(connection, whole).timeliness
    names = {it.lab: it.lab_display_name for it in found if it.lab_display_name}
    asked = Asked(
        request.lab or request.region,
        request.interval.start_time,
        request.interval.end_time,
        request.late_threshold,
        names,
        _summarize(connection, trend).timeliness,
    )
    return timeliness_page(found, asked)


def _sheet(found: Iterable[Timeliness], *, by_period: bool) -> Sheet:
    """Return the table of a summary. Rows of a period have no silence and no numbers of laboratories."""
    columns = [
        Column(tr("subject")),
        Column(tr("name")),
        Column(tr("group")),
        *([Column(tr("from"))] if by_period else []),
        Column(tr("results")),
        Column(tr("late")),
        Column(tr("share"), SHARE),
        Column(tr("upload p50")),
        Column("p95"),
        Column("p99"),
        Column(tr("nationwide p50")),
        Column("p95"),
        Column("p99"),
        Column(tr("last upload")),
        *([] if by_period else [Column(tr("silent since")), Column(tr("laboratories")), Column(tr("of them silent"))]),
        Column(tr("contact")),
    ]
    return Sheet(tr("timeliness"), columns, [_row(it, by_period=by_period) for it in found])


def _row(it: Timeliness, *, by_period: bool) -> Sequence[Value]:
    is_region = bool(it.region)
    silence = (
        time_value(it.silence_start_time),
        it.lab_count if is_region else None,
        it.silent_lab_count if is_region else None,
    )
    return (
        it.lab or it.region,
        full_name(it.region) if is_region else it.lab_display_name,
        word(TimelinessGrouping, it.grouping, "TIMELINESS_GROUPING_"),
        *([time_value(it.interval.start_time)] if by_period else []),
        it.result_count,
        it.late_count,
        it.late_share if it.HasField("late_share") else None,
        *_quantiles(it.report_to_upload),
        *_quantiles(it.upload_to_nationwide),
        time_value(it.last_upload_time),
        *(() if by_period else silence),
        it.lab_contact,
    )


def _quantiles(delays: DelayQuantiles) -> tuple[Value, Value, Value]:
    if not delays.HasField("p50"):
        return (None, None, None)
    return span_value(delays.p50), span_value(delays.p95), span_value(delays.p99)
