"""Missing reports in the database: reports that holders have shown and that no node has a record of.

The node that has registered the laboratory lists the missing report. A missing report is closed once the report has a
key in `report_keys`. Readers check for the key, so an upload writes nothing to close it. If two nodes list a missing
report and the report is uploaded to one of them, the nation closes it at the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, or_, select, tuple_, update

from services.domain.instant import DAY, Instant, Span
from services.domain.names import is_report_number, is_uscc
from services.domain.subject import mask_resident_numbers
from services.results.labs.tables import labs
from services.results.limits import ResultsLimits
from services.results.missing_reports import tables
from services.results.missing_reports.model import (
    NOT_OURS,
    LabAnswer,
    ListedReport,
    MissingReport,
    Position,
    ShownReport,
)
from services.results.records.model import FUTURE_TOLERANCE, ReportName
from services.results.records.tables import report_keys, results
from services.storage.upsert import insert_if_absent

KEPT: Span = 30 * DAY
"""How long a missing report is kept by default. No policy accepts a report after 30 days, so nothing depends on it any
longer."""

_table = tables.missing_reports
_keys = report_keys
_results = results
COLUMNS = [_table.c[name] for name in ("lab", "report_number", "create_time", "raising_node")]
"""The columns of a MissingReport without close time and answer."""
ANSWER = [_table.c[name] for name in ("answer", "answer_time", "expected_time", "answer_actor")]
"""The columns of an answer, all NULL if there is none."""
_OF_KEY = [_keys.c.subject_key, _keys.c.reference_time]
"""Columns of the key of a report that was uploaded to this node; NULL without a key."""
_REPORT = tuple_(_table.c.lab, _table.c.report_number)
IS_AWAITED = or_(_table.c.answer.is_(None), _table.c.answer != NOT_OURS)
"""Whether an upload is still awaited: the laboratory has not answered that the report is not its own."""
_IS_LISTED = or_(_table.c.passed_on.is_(False), _table.c.lab.in_(select(labs.c.uscc)))
"""Whether this node lists the report. A report of a laboratory that a node below has registered was passed on."""
_HAS_KEY = and_(_keys.c.lab == _table.c.lab, _keys.c.report_number == _table.c.report_number)


def can_be_missing(lab: str, report_number: str) -> bool:
    """Return whether a laboratory could upload a report under this number and a holder could read the number on it.

    A text that people type in place of a number often has no digit, or repeats one character. The number of an identity
    card is not a report number.
    """
    return (
        is_report_number(report_number)
        and any(character.isdigit() for character in report_number)
        and len(set(report_number)) > 1
        and mask_resident_numbers(report_number) == report_number
        and is_uscc(lab)
    )


def select_sound(claims: Sequence[ShownReport], node: str, horizon: Instant | None) -> list[MissingReport]:
    """Return claims as missing reports.

    Claims that no laboratory could upload, or that retention would remove, are left out.

    `node` is the node at which the reports were shown.
    """
    sound = {
        (claim.lab, claim.report_number): MissingReport(claim.lab, claim.report_number, claim.claim_time, node)
        for claim in claims
        if _is_in_time(claim, horizon) and can_be_missing(claim.lab, claim.report_number)
    }
    return list(sound.values())


def list_at_home(connection: Connection, uscc: str) -> None:
    """List a laboratory's missing reports at this node from now on.

    They were passed on, because this node had not registered the laboratory.
    """
    connection.execute(update(_table).where(_table.c.lab == uscc, _table.c.passed_on).values(passed_on=False))


def _is_in_time(claim: ShownReport, horizon: Instant | None) -> bool:
    if claim.report_time is None:
        return True
    return (horizon or 0) <= claim.report_time <= claim.claim_time + FUTURE_TOLERANCE


def find_registered(connection: Connection, usccs: Collection[str]) -> set[str]:
    """Return those of the laboratories that are registered at this node."""
    return set(connection.execute(select(labs.c.uscc).where(labs.c.uscc.in_(usccs))).scalars()) if usccs else set()


def store_missing(
    connection: Connection,
    reports: Iterable[MissingReport],
    passed_on: Collection[str],
    limits: ResultsLimits,
    at_home: Collection[str] = (),
) -> tuple[list[MissingReport], int]:
    """Store reports that are new here and have no record.

    Return the stored reports, and how many were dropped because a capacity is used up.

    Args:
        connection: a transaction.
        reports: the reports.
        passed_on: laboratories of other nodes.
        limits: the capacities.
        at_home: those of the laboratories in `passed_on` whose home has sent the reports, and lists them already.
    """
    # Every transaction inserts in this order, so that two transactions with the same reports never deadlock.
    wanted = {(report.lab, report.report_number): report for report in sorted(reports, key=_order)}
    for name in _known(connection, list(wanted)):
        del wanted[name]
    if not wanted:
        return [], 0
    capacity = _Capacity(connection, {lab for lab, _ in wanted}, at_home, limits)
    admitted = {name: report for name, report in wanted.items() if capacity.reserve(report.lab)}
    if not admitted:
        return [], len(wanted)
    rows = [row_of(report, passed_on=report.lab in passed_on) for report in admitted.values()]
    new = insert_if_absent(connection, _table).values(rows).returning(_table.c.lab, _table.c.report_number)
    inserted = {(row.lab, row.report_number) for row in connection.execute(new)}
    return [admitted[name] for name in admitted if name in inserted], len(wanted) - len(admitted)


def _order(report: MissingReport) -> tuple[str, str, Instant, str]:
    return report.lab, report.report_number, report.create_time, report.raising_node


def row_of(report: MissingReport, *, passed_on: bool) -> dict[str, Any]:
    """Return the row of an open missing report without an answer."""
    return {**{column.name: getattr(report, column.name) for column in COLUMNS}, "passed_on": passed_on}


def _report_of(row: Any) -> MissingReport:
    """Return the report in a row with the columns COLUMNS and ANSWER, without a close time."""
    return MissingReport(row.lab, row.report_number, row.create_time, row.raising_node, answer=answer_of(row))


def answer_of(row: Any) -> LabAnswer | None:
    """Return the answer in a row with the columns ANSWER; None if there is none."""
    if row.answer is None:
        return None
    return LabAnswer(row.answer, row.answer_time, row.expected_time, row.answer_actor or "")


def _known(connection: Connection, names: Sequence[ReportName]) -> set[ReportName]:
    """Return those of the reports that have a record or are stored as missing."""
    if not names:
        return set()
    recorded = select(_keys.c.lab, _keys.c.report_number).where(tuple_(_keys.c.lab, _keys.c.report_number).in_(names))
    listed = select(_table.c.lab, _table.c.report_number).where(_REPORT.in_(names))
    return {(row.lab, row.report_number) for query in (recorded, listed) for row in connection.execute(query)}


class _Capacity:
    """The remaining capacity for reports.

    There is a capacity for each laboratory, for all unregistered laboratories together, for reports that their home
    lists already, and for all reports. A report that its laboratory has answered with NOT_OURS takes no capacity.
    Further reports of a laboratory that answers can therefore be listed. Answered reports of other nodes have a
    capacity of their own (`answers.store_answers`).
    """

    def __init__(
        self, connection: Connection, usccs: Collection[str], at_home: Collection[str], limits: ResultsLimits
    ) -> None:
        unregistered = _table.c.lab.not_in(select(labs.c.uscc))
        open_ = (
            select(_table.c.lab, func.count())
            .join_from(_table, _keys, _HAS_KEY, isouter=True)
            .where(_table.c.lab.in_(usccs), _keys.c.lab.is_(None), _table.c.close_time.is_(None), IS_AWAITED)
            .group_by(_table.c.lab)
        )
        count = select(func.count()).select_from(_table).where(_table.c.answer.is_(None))
        self._unregistered = set(usccs) - find_registered(connection, usccs)
        self._at_home = frozenset(at_home)
        # Reports that must be passed on have this part of the capacity for themselves.
        self._kept_free = limits.missing_reports - limits.missing_reports_at_home
        self._for_lab = dict.fromkeys(usccs, limits.missing_reports_per_lab)
        for lab, many in connection.execute(open_):
            self._for_lab[lab] -= many
        self._in_all = limits.missing_reports - connection.execute(count).scalar_one()
        self._for_unregistered = (
            limits.unregistered_missing_reports - connection.execute(count.where(unregistered)).scalar_one()
        )

    def reserve(self, lab: str) -> bool:
        """Reserve capacity for a report. Return False if none is left."""
        is_unregistered = lab in self._unregistered
        if self._for_lab[lab] <= 0 or self._in_all <= 0 or (is_unregistered and self._for_unregistered <= 0):
            return False
        if lab in self._at_home and self._in_all <= self._kept_free:
            return False
        self._for_lab[lab] -= 1
        self._in_all -= 1
        self._for_unregistered -= is_unregistered
        return True


def find_missing_reports(connection: Connection, lab: str, report_numbers: Sequence[str]) -> list[MissingReport]:
    """Return those of these reports that are stored as missing, in the order of their numbers."""
    query = select(*COLUMNS, *_OF_KEY, _table.c.close_time, *ANSWER).join_from(_table, _keys, _HAS_KEY, isouter=True)
    some = query.where(_table.c.lab == lab, _table.c.report_number.in_(report_numbers))
    rows = connection.execute(some.order_by(_table.c.report_number)).all()
    uploaded = _find_upload_times(connection, rows)
    return [
        _report_of(row)._replace(close_time=uploaded.get((row.lab, row.report_number), row.close_time)) for row in rows
    ]


def _find_upload_times(connection: Connection, rows: Sequence[Any]) -> dict[ReportName, Instant]:
    """Return when the reports that have a key were uploaded. `rows` have the columns _OF_KEY.

    The reference time stands in for the upload time if retention has removed all revisions of a report.
    """
    keyed = {(row.lab, row.report_number): row for row in rows if row.subject_key is not None}
    if not keyed:
        return {}
    query = (
        select(_results.c.lab, _results.c.report_number, _results.c.subject_key, func.min(_results.c.upload_time))
        .where(
            _results.c.subject_key.in_({row.subject_key for row in keyed.values()}),
            _results.c.report_number.in_({number for _, number in keyed}),
        )
        .group_by(_results.c.lab, _results.c.report_number, _results.c.subject_key)
    )
    first = {(lab, number, key): time for lab, number, key, time in connection.execute(query)}
    return {name: first.get((*name, row.subject_key), row.reference_time) for name, row in keyed.items()}


def find_closed(connection: Connection, names: Mapping[str, Collection[str]]) -> list[MissingReport]:
    """Return those of these reports that other nodes list as missing.

    `names` gives the report numbers by laboratory.
    """
    if not names:
        return []
    query = select(*COLUMNS).where(_table.c.lab.in_(sorted(names)), _table.c.passed_on)
    reports = [MissingReport(*row) for row in connection.execute(query.order_by(_table.c.lab, _table.c.report_number))]
    return [report for report in reports if report.report_number in names[report.lab]]


def list_passed_on(connection: Connection, usccs: Collection[str]) -> dict[str, list[str]]:
    """Return the numbers of these laboratories' reports that other nodes list as missing, by laboratory."""
    query = select(_table.c.lab, _table.c.report_number).where(_table.c.lab.in_(usccs), _table.c.passed_on)
    numbers: dict[str, list[str]] = {}
    for lab, number in connection.execute(query.order_by(_table.c.lab, _table.c.report_number)):
        numbers.setdefault(lab, []).append(number)
    return numbers


def close_missing(connection: Connection, reports: Sequence[MissingReport]) -> None:
    """Close reports that were uploaded to another node."""
    if reports:
        this = (_table.c.lab == bindparam("of_lab"), _table.c.report_number == bindparam("number"))
        connection.execute(
            update(_table).where(*this).values(close_time=bindparam("closed")),
            [
                {"of_lab": report.lab, "number": report.report_number, "closed": report.close_time}
                for report in sorted(reports, key=_order)
            ],
        )


def list_missing_reports(
    connection: Connection, lab: str, after: Position | None, limit: int, *, include_closed: bool
) -> list[ListedReport]:
    """Return the reports listed at this node, newest first, beginning after `after`. An empty `lab` stands for all.

    These are also reports of laboratories that nodes below have registered.
    """
    query = (
        select(*COLUMNS, *_OF_KEY, _table.c.close_time, *ANSWER)
        .join_from(_table, _keys, _HAS_KEY, isouter=True)
        .where(_IS_LISTED)
        .order_by(_table.c.create_time.desc(), _table.c.lab, _table.c.report_number)
        .limit(limit)
    )
    if lab:
        query = query.where(_table.c.lab == lab)
    if not include_closed:
        query = query.where(_keys.c.lab.is_(None), _table.c.close_time.is_(None), IS_AWAITED)
    if after is not None:
        time, *name = after
        same_time = and_(_table.c.create_time == time, tuple_(*name) < _REPORT)
        query = query.where(or_(_table.c.create_time < time, same_time))
    rows = connection.execute(query).all()
    uploaded = _find_upload_times(connection, rows)
    return [ListedReport(_report_of(row), uploaded.get((row.lab, row.report_number), row.close_time)) for row in rows]


def list_open(connection: Connection) -> dict[str, list[str]]:
    """Return the numbers of the open reports that are listed at this node, by laboratory."""
    query = (
        select(_table.c.lab, _table.c.report_number)
        .join_from(_table, _keys, _HAS_KEY, isouter=True)
        .where(_IS_LISTED, _keys.c.lab.is_(None), _table.c.close_time.is_(None), IS_AWAITED)
        .order_by(_table.c.lab, _table.c.report_number)
    )
    numbers: dict[str, list[str]] = {}
    for lab, number in connection.execute(query):
        numbers.setdefault(lab, []).append(number)
    return numbers


def remove_old(connection: Connection, before: Instant) -> None:
    """Delete missing reports that were shown for the first time before an instant."""
    connection.execute(delete(_table).where(_table.c.create_time < before))


def remove_with_keys(connection: Connection, horizon: Instant) -> int:
    """Delete missing reports whose records retention is about to remove, and missing reports shown before the horizon.

    A missing report is closed by the key of its record. Without the key it would be open again. Return how many missing
    reports were deleted.
    """
    closed = select(_keys.c.lab).where(_HAS_KEY, _keys.c.reference_time < horizon).exists()
    old = _table.c.create_time < horizon
    return sum(connection.execute(delete(_table).where(which)).rowcount for which in (old, closed))
