"""The answers of laboratories to missing reports, in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, func, or_, select, tuple_, update

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import Instant
from services.domain.names import format_missing_report, format_node
from services.results.labs.tables import labs
from services.results.limits import ResultsLimits
from services.results.missing_reports import tables
from services.results.missing_reports.model import NOT_OURS, LabAnswer, MissingReport
from services.results.missing_reports.store import ANSWER, answer_of, find_missing_reports, row_of
from services.results.records.model import ReportName
from services.results.records.tables import report_keys
from services.storage.upsert import insert_if_absent

_table = tables.missing_reports
_REPORT = tuple_(_table.c.lab, _table.c.report_number)


def answer_missing(
    connection: Connection, lab: str, report_number: str, answer: LabAnswer
) -> tuple[MissingReport, bool]:
    """Store the answer to a report that this node lists. Return the report, and whether the answer is new.

    The time of `answer` is the current time. An answer that equals the stored answer is not stored again.

    Raises:
        NotFound: this node does not list the report, or no node has registered its laboratory.
        FailedPrecondition: CONFLICT, the report has a record, or a node below has registered its laboratory.
    """
    of_report = (_table.c.lab == lab, _table.c.report_number == report_number)
    own = select(labs.c.uscc).where(labs.c.uscc == lab, labs.c.source_node == "").exists()
    # The row is locked, so that the second of two concurrent answers is compared with the first.
    locked = select(_table.c.lab).where(*of_report, _table.c.passed_on.is_(False), own).with_for_update()
    name = format_missing_report(lab, report_number)
    if connection.execute(locked).first() is None:
        # A laboratory that this node has registered too may be at home at a node below.
        homes = select(labs.c.source_node, labs.c.home).where(labs.c.uscc == lab)
        home = connection.execute(homes.join(_table, _table.c.lab == labs.c.uscc).where(*of_report)).first()
        if home is not None and (node := home.source_node or home.home):
            text = english("{node} has registered the laboratory: answer there", node=format_node(node))
            raise FailedPrecondition("CONFLICT", text, metadata={"resource": name})
        raise NotFound.resource(name)
    (report,) = find_missing_reports(connection, lab, [report_number])
    if report.close_time is not None:
        raise FailedPrecondition(
            "CONFLICT",
            english("the report has a record, which outweighs every answer; correct or recall the record instead"),
            metadata={"use": "CorrectResult", "resource": name},
        )
    before, now = report.answer, answer.answer_time
    if before is not None:
        if (before.answer, before.expected_time) == (answer.answer, answer.expected_time):
            return report, False
        # Of two answers to one report, other nodes keep the later one. A new answer therefore gets a later time than
        # the previous answer, even if the clock has been set back.
        answer = answer._replace(answer_time=max(answer.answer_time, before.answer_time + 1))
    connection.execute(update(_table).where(*of_report).values(_values(answer, now)))
    return report._replace(answer=answer), True


def store_answers(
    connection: Connection,
    reports: Sequence[MissingReport],
    listed: Collection[str],
    limits: ResultsLimits,
    now: Instant,
) -> tuple[list[MissingReport], int]:
    """Store the answers that another node has sent, if they are newer than the stored ones.

    If a report is not stored here yet, it is stored with its answer, so that decisions of this node can use the answer.
    This node lists the report if its laboratory is in `listed`. Return the reports whose answers were stored, and how
    many reports were dropped because the capacity is used up.
    """
    # Every transaction changes rows in this order, so that two transactions never deadlock.
    wanted = {(report.lab, report.report_number): report for report in sorted(reports, key=_order)}
    known = set(_read(connection, select(_table.c.lab, _table.c.report_number), list(wanted)))
    new = [report for name, report in wanted.items() if name not in known]
    dropped = 0
    if new:
        count = select(func.count()).select_from(_table).where(_table.c.answer.is_not(None))
        capacity = max(0, limits.lab_answers - connection.execute(count).scalar_one())
        dropped = len(new[capacity:])
        if rows := [row_of(report, passed_on=report.lab not in listed) for report in new[:capacity]]:
            connection.execute(insert_if_absent(connection, _table), rows)
    stored = []
    for (lab, number), report in wanted.items():
        assert report.answer is not None
        later = or_(_table.c.answer_time.is_(None), _table.c.answer_time < report.answer.answer_time)
        of_report = (_table.c.lab == lab, _table.c.report_number == number, later)
        if connection.execute(update(_table).where(*of_report).values(_values(report.answer, now))).rowcount:
            stored.append(report)
    return stored, dropped


def find_answers(connection: Connection, names: Sequence[ReportName]) -> dict[ReportName, LabAnswer]:
    """Return the answers to those of these reports that have an answer."""
    query = select(_table.c.lab, _table.c.report_number, *ANSWER).where(_table.c.answer.is_not(None))
    return {
        (row.lab, row.report_number): answer for row in _read(connection, query, names) if (answer := answer_of(row))
    }


def list_denied(
    connection: Connection, start_time: Instant | None, after: ReportName | None, limit: int
) -> list[ReportName]:
    """Return at most `limit` reports that their laboratories deny and that have no record.

    The reports are ordered by name.

    Args:
        connection: a transaction.
        start_time: only answers that were stored here at this instant or later; None for all.
        after: the last report of the page before; None for the first page.
        limit: the most reports to return.
    """
    recorded = select(report_keys.c.lab).where(
        report_keys.c.lab == _table.c.lab, report_keys.c.report_number == _table.c.report_number
    )
    query = select(_table.c.lab, _table.c.report_number).where(
        _table.c.answer == NOT_OURS, _table.c.close_time.is_(None), ~recorded.exists()
    )
    if start_time is not None:
        query = query.where(_table.c.answer_store_time >= start_time)
    if after is not None:
        query = query.where(tuple_(*after) < _REPORT)
    rows = connection.execute(query.order_by(_table.c.lab, _table.c.report_number).limit(limit))
    return [(row.lab, row.report_number) for row in rows]


def list_answered(connection: Connection, *conditions: ColumnElement[bool]) -> dict[str, list[str]]:
    """Return the numbers of all answered reports that meet the conditions, by laboratory."""
    query = select(_table.c.lab, _table.c.report_number).where(_table.c.answer.is_not(None), *conditions)
    numbers: dict[str, list[str]] = {}
    for lab, number in connection.execute(query.order_by(_table.c.lab, _table.c.report_number)):
        numbers.setdefault(lab, []).append(number)
    return numbers


def _read(connection: Connection, query: Any, names: Sequence[ReportName]) -> Sequence[Any]:
    return connection.execute(query.where(_REPORT.in_(names))).all() if names else ()


def _values(answer: LabAnswer, now: Instant) -> dict[str, Any]:
    return {
        "answer": answer.answer,
        "answer_time": answer.answer_time,
        "expected_time": answer.expected_time,
        "answer_actor": answer.actor or None,
        "answer_store_time": now,
    }


def _order(report: MissingReport) -> tuple[str, str, int]:
    assert report.answer is not None
    return report.lab, report.report_number, report.answer.answer_time
