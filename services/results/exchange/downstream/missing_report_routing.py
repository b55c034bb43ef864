"""Routing of missing reports: each goes to the nodes below that have registered its laboratory.

A node that has a node above it lists the missing reports of its own laboratories, and sends the missing reports of
unknown laboratories to the node above.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, update

from services.domain.instant import Instant
from services.domain.region import NATION
from services.results.changelog.append import append_entry
from services.results.changelog.log import ChangeLog
from services.results.exchange.homes.register import find_listed, find_registrants
from services.results.limits import ResultsLimits
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.routing import missing_report_changes, select_uploadable
from services.results.missing_reports.store import COLUMNS, close_missing, find_missing_reports, store_missing
from services.results.missing_reports.tables import missing_reports


class TopRouter:
    """Routing at a node without a node above, such as the nation.

    The node lists missing reports of laboratories without a home node below, and sends all other missing reports to the
    home nodes.
    """

    def __init__(self, change_log: ChangeLog, limits: ResultsLimits) -> None:
        self._change_log = change_log
        self._limits = limits

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports that were shown at this node, and notify the home nodes of their laboratories.

        Return how many were dropped because the queue was full.
        """
        passed_on, found_no_capacity = _store_at_top(connection, reports, self._limits)
        self._change_log.notify(connection, missing_report_changes(passed_on), now)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str) -> list[MissingReport]:
        """Store reports that a node sent. Return the reports of which home nodes must be notified."""
        sound = [report._replace(raising_node=sender, close_time=None) for report in select_uploadable(reports)]
        return _store_at_top(connection, sound, self._limits)[0]

    def receive_labs(self, connection: Connection, usccs: Collection[str]) -> list[MissingReport]:
        """Stop listing reports of laboratories that a node has now registered. Return the reports for that node."""
        table = missing_reports
        handover = update(table).where(table.c.lab.in_(usccs), table.c.passed_on.is_(False)).values(passed_on=True)
        return sorted(MissingReport(*row) for row in connection.execute(handover.returning(*COLUMNS)))


def _store_at_top(
    connection: Connection, reports: Sequence[MissingReport], limits: ResultsLimits
) -> tuple[list[MissingReport], int]:
    """Store missing reports.

    Return the newly stored reports whose laboratory has a home node, which must be notified. Return also how many
    reports were dropped because the queue was full.
    """
    elsewhere = find_registrants(connection, _labs_of(reports))
    # A report that was raised at the home node of its laboratory is already listed there.
    wanted = [report for report in reports if report.raising_node not in elsewhere.get(report.lab, ())]
    stored, found_no_capacity = store_missing(connection, wanted, elsewhere, limits)
    return [report for report in stored if report.lab in elsewhere], found_no_capacity


class MiddleRouter:
    """Routing at a node with a node above. It may have nodes below.

    Reports of laboratories that a node below has registered go to that node. Reports of this node's own laboratories
    are listed here. All other reports go to the node above.
    """

    def __init__(self, change_log: ChangeLog, limits: ResultsLimits) -> None:
        self._change_log = change_log
        self._limits = limits

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports that were shown at this node and pass on the reports of other nodes' laboratories.

        Return how many were dropped because the queue was full.
        """
        passed_on, found_no_capacity = self._store(connection, reports)
        below = find_registrants(connection, _labs_of(passed_on))
        self._change_log.notify(connection, missing_report_changes(passed_on), now)
        for change in missing_report_changes([report for report in passed_on if report.lab not in below]):
            append_entry(connection, change.lab, change.names, now, change.kind)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str) -> list[MissingReport]:
        """Store reports that a node sent, or their ends. Return the reports of which other nodes must be notified."""
        if sender != NATION:
            sound = [report._replace(raising_node=sender, close_time=None) for report in select_uploadable(reports)]
            registrants = find_registrants(connection, _labs_of(sound))
            wanted = [report for report in sound if sender not in registrants.get(report.lab, ())]
            return self._store(connection, wanted)[0]
        closed = [report for report in reports if report.close_time is not None]
        close_missing(connection, closed)
        missing = select_uploadable([report for report in reports if report.close_time is None])
        below = find_registrants(connection, _labs_of(missing))
        stored, _ = store_missing(connection, missing, below, self._limits)
        numbers: dict[str, list[str]] = {}
        for report in closed:
            numbers.setdefault(report.lab, []).append(report.report_number)
        ended = [one for lab, some in sorted(numbers.items()) for one in find_missing_reports(connection, lab, some)]
        return [*(report for report in stored if report.lab in below), *ended]

    def receive_labs(self, connection: Connection, usccs: Collection[str]) -> list[MissingReport]:
        """Stop listing reports of laboratories that a node below has registered. Return the reports for that node.

        Among them are reports that were sent to the node above before the registration.
        """
        table = missing_reports
        open_ = (table.c.lab.in_(usccs), table.c.close_time.is_(None))
        handover = update(table).where(*open_).values(passed_on=True)
        return sorted(MissingReport(*row) for row in connection.execute(handover.returning(*COLUMNS)))

    def _store(self, connection: Connection, reports: Sequence[MissingReport]) -> tuple[list[MissingReport], int]:
        """Store missing reports.

        Return the newly stored reports that are not listed here, of which other nodes must be notified. Return also how
        many reports were dropped because the queue was full.
        """
        usccs = _labs_of(reports)
        here = find_listed(connection, usccs)
        stored, found_no_capacity = store_missing(connection, reports, usccs - here, self._limits)
        return [report for report in stored if report.lab not in here], found_no_capacity


def _labs_of(reports: Sequence[MissingReport]) -> set[str]:
    return {report.lab for report in reports}
