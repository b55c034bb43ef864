"""`hutong refusal summary`: counts and rates of reported refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.type.v1 import purpose_pb2, summary_period_pb2
from hutong.verification.v1 import refusal_pb2, refusal_service_pb2
from hutong.verification.v1.refusal_service_pb2 import (
    RefusalCounts,
    RefusalGrouping,
    RefusalSummary,
    SummarizeRefusalsRequest,
    SummarizeRefusalsResponse,
)
from hutong_texts import tr

from hutong_client.cli.commands.refusals.display import list_grounds
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.exports.options import Exports, export_options
from hutong_client.cli.exports.sheet import SHARE, Column, Sheet, Value, span_value, time_value
from hutong_client.cli.help import help_text
from hutong_client.cli.options import INSTANT, REGION, Node, NodeCommand, html_option, json_option
from hutong_client.cli.output import print_json, say
from hutong_client.cli.pages.frame import write_page
from hutong_client.cli.pages.refusals import Asked, refusals_page
from hutong_client.cli.words import Word
from hutong_client.connection import Connection
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages
from hutong_client.tables.regions import show_region

PERIOD = Word(summary_period_pb2.SummaryPeriod, "SUMMARY_PERIOD_")
GROUPING = Word(RefusalGrouping, "REFUSAL_GROUPING_")
PER_DECISIONS = 1000
"""Refusals are few beside decisions, so their number is given per thousand decisions."""
_RATE = "0.000"
_ON_PAGE = (
    refusal_service_pb2.REFUSAL_GROUPING_PROVINCE,
    refusal_service_pb2.REFUSAL_GROUPING_DISTRICT,
    refusal_service_pb2.REFUSAL_GROUPING_VENUE_KIND,
)


@click.command(
    cls=NodeCommand,
    example="--region 410000 --from 2022-08-09T00:00:00+08:00 --to 2022-08-10T00:00:00+08:00 --group city --by day",
)
@click.option("--region", type=REGION, default="", help="Only in this region and below, GB/T 2260.")
@click.option("--from", "start_time", type=INSTANT, required=True, help="Refusals at or after this instant.")
@click.option("--to", "end_time", type=INSTANT, required=True, help="Refusals before this instant.")
@click.option(
    "--group",
    "groupings",
    type=GROUPING,
    multiple=True,
    help=help_text("What a row stands for: {words}; may be repeated.  [default: district]", words=GROUPING),
)
@click.option("--by", "period", type=PERIOD, help="One row per day, week or month.  [default: one in all]")
@click.option("--unanswered", is_flag=True, help="Only rows in which no report is answered.")
@export_options
@html_option
@json_option
@click.pass_obj
def summary(
    node: Node,
    region: str,
    start_time: Timestamp,
    end_time: Timestamp,
    groupings: Sequence[int],
    period: int | None,
    unanswered: bool,
    html_path: Path | None,
    exports: Exports,
    as_json: bool,
) -> ExitCode:
    """Count reports by place, kind of venue, purpose or node, with rates, decisions asked for, and open reports.

    A page also has charts, and one over time, by day unless --by is given.
    """
    if html_path and (as_json or exports or groupings or unanswered):
        raise click.UsageError(tr("give --html without --group, --unanswered, --json, --csv and --xlsx"))
    request = SummarizeRefusalsRequest(
        region=region,
        interval=Interval(start_time=start_time, end_time=end_time),
        period=summary_period_pb2.SummaryPeriod.ValueType(period or 0),
        groupings=[RefusalGrouping.ValueType(grouping) for grouping in dict.fromkeys(groupings)],
        unanswered_only=unanswered,
    )
    with node.connect() as connection:
        if html_path:
            write_page(html_path, _page(connection, request))
            return ExitCode.DONE
        answer = read_summary(connection, request)
    if as_json:
        print_json({"refusal_summaries": []} | as_dict(answer))
        return ExitCode.DONE
    if answer.HasField("decision_start_time"):
        say_since(answer.decision_start_time, start_time)
    sheet = summary_sheet(answer.refusal_summaries)
    if exports:
        exports.write(sheet)
    else:
        sheet.show()
    return ExitCode.DONE


def read_summary(connection: Connection, request: SummarizeRefusalsRequest) -> SummarizeRefusalsResponse:
    """Read the rows of all pages."""
    answer = SummarizeRefusalsResponse()
    request.page_token = ""
    for page in all_pages(connection.refusals.SummarizeRefusals, request):
        answer.MergeFrom(page)
    answer.ClearField("next_page_token")
    return answer


def say_since(counted_from: Timestamp, start_time: Timestamp) -> None:
    """Say since when decisions are counted, if the interval begins earlier."""
    if counted_from.ToNanoseconds() > start_time.ToNanoseconds():
        say(tr("Not counted: decisions before {counted_from}.", counted_from=moment(counted_from)))


def summary_sheet(rows: Sequence[RefusalSummary]) -> Sheet:
    """Return the table of a summary: for each row a line for all reports, and a line for each ground."""
    columns = (
        Column(tr("region")),
        Column(tr("group")),
        Column(tr("from")),
        Column(tr("ground")),
        Column(tr("reports")),
        Column(tr("assessed")),
        Column(tr("unlawful")),
        Column(tr("unlawful share"), SHARE),
        Column(tr("answered share"), SHARE),
        Column(tr("open")),
        Column(tr("overdue")),
        Column(tr("taken over")),
        Column(tr("oldest open")),
        Column(tr("last answer")),
        Column(tr("median to answer")),
        Column(tr("decisions")),
        Column(tr("per 1,000 decisions"), _RATE),
    )
    return Sheet(tr("refusals"), columns, [line for row in rows for line in _lines(row)])


def group_of(row: RefusalSummary) -> str:
    """Return in words what a row stands for besides its region; empty for a district."""
    if row.grouping == refusal_service_pb2.REFUSAL_GROUPING_VENUE_KIND:
        return word(refusal_pb2.VenueKind, row.venue_kind, "VENUE_KIND_") if row.venue_kind else tr("not stated")
    if row.grouping == refusal_service_pb2.REFUSAL_GROUPING_PURPOSE:
        return word(purpose_pb2.Purpose, row.purpose, "PURPOSE_")
    if row.grouping == refusal_service_pb2.REFUSAL_GROUPING_ORIGIN_NODE:
        return row.origin_node
    return word(RefusalGrouping, row.grouping, "REFUSAL_GROUPING_") if row.grouping else ""


def _lines(row: RefusalSummary) -> Iterator[Sequence[Value]]:
    decisions = row.decisions.decision_count if row.HasField("decisions") else None
    rates = row.rates
    yield (
        *_counted(row, tr("all"), row.total),
        decisions,
        PER_DECISIONS * rates.refusals_per_decision if rates.HasField("refusals_per_decision") else None,
    )
    for it in row.grounds:
        yield (*_counted(row, list_grounds([it.ground]), it.counts), None, None)


def _counted(row: RefusalSummary, ground: str, counts: RefusalCounts) -> tuple[Value, ...]:
    answers = counts.HasField("median_time_to_answer")
    return (
        show_region(row.region),
        group_of(row),
        time_value(row.interval.start_time),
        ground,
        counts.refusal_count,
        counts.assessed_count,
        counts.unlawful_count,
        _share(counts.unlawful_count, counts.assessed_count),
        _share(counts.answered_count, counts.refusal_count),
        counts.open_count,
        counts.overdue_count,
        counts.escalated_count,
        time_value(counts.oldest_open_time),
        time_value(counts.last_answer_time),
        span_value(counts.median_time_to_answer) if answers else None,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _page(connection: Connection, request: SummarizeRefusalsRequest) -> str:
    """Return the page of a summary. The page has its own groupings."""
    asked = Asked(request.region, request.interval.start_time, request.interval.end_time)
    request.period = request.period or summary_period_pb2.SUMMARY_PERIOD_DAY
    request.groupings[:] = [refusal_service_pb2.REFUSAL_GROUPING_WHOLE]
    over_time = read_summary(connection, request).refusal_summaries
    request.ClearField("period")
    request.groupings[:] = _ON_PAGE
    return refusals_page(read_summary(connection, request).refusal_summaries, over_time, asked)
