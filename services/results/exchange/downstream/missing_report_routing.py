"""Routing of missing reports at the nation: each report goes to the nodes that have registered its laboratory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.results.changelog.log import ChangeLog
from services.results.exchange.tables import lab_homes
from services.results.limits import ResultsLimits
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.routing import missing_report_changes, select_uploadable
from services.results.missing_reports.store import COLUMNS, store_missing
from services.results.missing_reports.tables import missing_reports


class NationRouter:
    """Lists missing reports of laboratories without a home node, and sends the others to the home nodes."""

    def __init__(self, change_log: ChangeLog, limits: ResultsLimits) -> None:
        self._change_log = change_log
        self._limits = limits

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports that were shown at the nation, and notify the home nodes of their laboratories.

        Return how many were dropped because the queue was full.
        """
        passed_on, found_no_capacity = _store_at_nation(connection, reports, self._limits)
        self._change_log.notify(connection, missing_report_changes(passed_on), now)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str) -> list[MissingReport]:
        """Store reports that a node sent. Return the reports that home nodes must be notified of."""
        sound = [report._replace(raising_node=sender, close_time=None) for report in select_uploadable(reports)]
        return _store_at_nation(connection, sound, self._limits)[0]

    def receive_labs(self, connection: Connection, usccs: Collection[str]) -> list[MissingReport]:
        """Stop listing reports of laboratories that a node has now registered. Return the reports for that node."""
        table = missing_reports
        handover = update(table).where(table.c.lab.in_(usccs), table.c.passed_on.is_(False)).values(passed_on=True)
        return sorted(MissingReport(*row) for row in connection.execute(handover.returning(*COLUMNS)))


def _store_at_nation(
    connection: Connection, reports: Sequence[MissingReport], limits: ResultsLimits
) -> tuple[list[MissingReport], int]:
    """Return the newly stored reports whose laboratory has a home node, and how many the full queue dropped."""
    query = select(lab_homes.c.uscc, lab_homes.c.node).where(lab_homes.c.uscc.in_({report.lab for report in reports}))
    at_home = {(row.uscc, row.node) for row in connection.execute(query)} if reports else set()
    elsewhere = {lab for lab, _ in at_home}
    # A report raised at the home node of its laboratory is listed there already.
    wanted = [report for report in reports if (report.lab, report.raising_node) not in at_home]
    stored, found_no_capacity = store_missing(connection, wanted, elsewhere, limits)
    return [report for report in stored if report.lab in elsewhere], found_no_capacity
