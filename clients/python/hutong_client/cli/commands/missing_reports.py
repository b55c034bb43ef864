"""`hutong missing-reports` and `answer-missing-report`: reports that were shown and that no laboratory has uploaded."""

from __future__ import annotations

import click
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.missing_report_pb2 import MissingReport, MissingReportAnswer
from hutong.results.v1.missing_report_service_pb2 import AnswerMissingReportRequest, ListMissingReportsRequest
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import INSTANT, LAB, Node, NodeCommand, json_option
from hutong_client.cli.output import echo, print_json, print_table
from hutong_client.cli.words import Word
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict, moment, word
from hutong_client.paging import all_pages

ANSWER = Word(MissingReportAnswer, "MISSING_REPORT_ANSWER_")


@click.command("missing-reports", cls=NodeCommand, example="--lab 91220502MA000LAB8G --all")
@click.option("--lab", type=LAB, help="Only reports of this laboratory.")
@click.option("--all", "include_closed", is_flag=True, help="Also reports of which nothing is awaited any more.")
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
        echo(tr("No report is missing."))
        return ExitCode.DONE
    rows = [
        (
            it.lab,
            it.report_number,
            moment(it.create_time),
            it.raising_node,
            moment(it.close_time) if it.HasField("close_time") else "open",
            _answer(it),
        )
        for it in found
    ]
    print_table((tr("laboratory"), tr("report"), tr("shown"), tr("at"), tr("uploaded"), tr("answer")), rows)
    return ExitCode.DONE


@click.command(
    "answer-missing-report",
    cls=NodeCommand,
    example="labs/91220502MA000LAB8G/missingReports/TH-0815 to-follow --expected 2022-08-12T08:00:00+08:00",
)
@click.argument("name", metavar="MISSING_REPORT")
@click.argument("answer", type=ANSWER, metavar="ANSWER")
@click.option(
    "--expected", "expected_time", type=INSTANT, help="With to-follow: when the report is expected to be uploaded."
)
@json_option
@click.pass_obj
def answer_missing_report(
    node: Node, name: str, answer: int, expected_time: Timestamp | None, as_json: bool
) -> ExitCode:
    """Answer a missing report for its laboratory: not-ours or to-follow.

    A report that is not the laboratory's counts for nothing from then on, unless a record of it is uploaded. A later
    answer replaces an earlier one. `hutong missing-reports --json` shows the names.
    """
    request = AnswerMissingReportRequest(
        name=name, answer=MissingReportAnswer.ValueType(answer), expected_time=expected_time
    )
    with node.connect() as connection:
        answered = connection.missing_reports.AnswerMissingReport(request, timeout=CALL_SECONDS).missing_report
    if as_json:
        print_json(as_dict(answered))
    else:
        echo(f"{answered.name}: {_answer(answered)}")
    return ExitCode.DONE


def _answer(report: MissingReport) -> str:
    """Describe what the laboratory has answered; empty if nothing."""
    if not report.HasField("lab_answer"):
        return ""
    answer = report.lab_answer
    text = word(MissingReportAnswer, answer.answer, "MISSING_REPORT_ANSWER_")
    return f"{text} {moment(answer.expected_time)}" if answer.HasField("expected_time") else text
