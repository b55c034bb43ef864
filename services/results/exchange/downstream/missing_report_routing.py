"""Routing of missing reports: each goes to the nodes below that have registered its laboratory.

A node that has a node above it lists the missing reports of its own laboratories, and sends the missing reports of
unknown laboratories to the node above.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, update

from services.domain.instant import Instant
from services.domain.region import NATION, within
from services.results.changelog.append import append_entry
from services.results.changelog.log import ChangeLog
from services.results.exchange.homes.register import find_listed, find_registrants
from services.results.limits import ResultsLimits
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.routing import (
    RoutedReports,
    listed_report_changes,
    missing_report_changes,
    select_uploadable,
)
from services.results.missing_reports.store import COLUMNS, close_missing, find_missing_reports, store_missing
from services.results.missing_reports.tables import missing_reports


class TopRouter:
    """Routing at a node without a node above, such as the nation.

    The node sends missing reports to the home nodes of their laboratories. It stores what a home node lists itself, so
    that this node lists it too.
    """

    def __init__(self, change_log: ChangeLog, limits: ResultsLimits) -> None:
        self._change_log = change_log
        self._limits = limits

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports that were shown at this node, and notify the home nodes of their laboratories.

        Return how many were dropped because the queue was full.
        """
        homes = find_registrants(connection, _labs_of(reports))
        stored, found_no_capacity = store_missing(connection, reports, homes, self._limits)
        passed_on = [report for report in stored if report.lab in homes]
        self._change_log.notify(connection, missing_report_changes(passed_on), now)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str) -> RoutedReports:
        """Store reports that a node below sent."""
        return _store_from_below(connection, reports, sender, self._limits, is_top=True)

    def receive_labs(self, connection: Connection, usccs: Collection[str]) -> list[MissingReport]:
        """Stop listing reports of laboratories that a node has now registered. Return the reports for that node."""
        table = missing_reports
        handover = update(table).where(table.c.lab.in_(usccs), table.c.passed_on.is_(False)).values(passed_on=True)
        return sorted(MissingReport(*row) for row in connection.execute(handover.returning(*COLUMNS)))


def _store_from_below(
    connection: Connection, reports: Sequence[MissingReport], sender: str, limits: ResultsLimits, *, is_top: bool
) -> RoutedReports:
    """Store reports that a node below sent.

    The sender speaks for itself and for the nodes below it. If it names another raising node, it counts as that node.
    """
    sound = [
        report._replace(
            raising_node=report.raising_node if within(report.raising_node, sender) else sender, close_time=None
        )
        for report in select_uploadable(reports)
    ]
    usccs = _labs_of(sound)
    homes = find_registrants(connection, usccs)
    # The sender lists the reports of its own laboratories already.
    at_home = {lab for lab, nodes in homes.items() if sender in nodes}
    here = usccs - homes.keys() if is_top else find_listed(connection, usccs)
    stored, _ = store_missing(connection, sound, usccs - here, limits, at_home)
    listed_here = at_home | here
    return RoutedReports(
        [report for report in stored if report.lab not in listed_here],
        [report for report in stored if report.lab in listed_here],
    )


class MiddleRouter:
    """Routing at a node with a node above. It may have nodes below.

    Reports of laboratories that a node below has registered go to that node. Reports of this node's own laboratories
    are listed here. All other reports go to the node above. The node above also gets the reports that are listed here
    or at a node below, because it lists them too.
    """

    def __init__(self, change_log: ChangeLog, limits: ResultsLimits) -> None:
        self._change_log = change_log
        self._limits = limits

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports that were shown at this node and pass on the reports of other nodes' laboratories.

        Return how many were dropped because the queue was full.
        """
        usccs = _labs_of(reports)
        here = find_listed(connection, usccs)
        stored, found_no_capacity = store_missing(connection, reports, usccs - here, self._limits)
        passed_on = [report for report in stored if report.lab not in here]
        self._change_log.notify(connection, missing_report_changes(passed_on), now)
        listed = here | find_registrants(connection, usccs - here).keys()
        changes = [
            *missing_report_changes([report for report in stored if report.lab not in listed]),
            *listed_report_changes([report for report in stored if report.lab in listed]),
        ]
        for change in changes:
            append_entry(connection, change.lab, change.names, now, change.kind)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str) -> RoutedReports:
        """Store reports that a node sent, or their ends."""
        if sender != NATION:
            return _store_from_below(connection, reports, sender, self._limits, is_top=False)
        closed = [report for report in reports if report.close_time is not None]
        close_missing(connection, closed)
        missing = select_uploadable([report for report in reports if report.close_time is None])
        below = find_registrants(connection, _labs_of(missing))
        stored, _ = store_missing(connection, missing, below, self._limits)
        numbers: dict[str, list[str]] = {}
        for report in closed:
            numbers.setdefault(report.lab, []).append(report.report_number)
        ended = [one for lab, some in sorted(numbers.items()) for one in find_missing_reports(connection, lab, some)]
        return RoutedReports([*(report for report in stored if report.lab in below), *ended])

    def receive_labs(self, connection: Connection, usccs: Collection[str]) -> list[MissingReport]:
        """Stop listing reports of laboratories that a node below has registered. Return the reports for that node.

        Among them are reports that were sent to the node above before the registration.
        """
        table = missing_reports
        open_ = (table.c.lab.in_(usccs), table.c.close_time.is_(None))
        handover = update(table).where(*open_).values(passed_on=True)
        return sorted(MissingReport(*row) for row in connection.execute(handover.returning(*COLUMNS)))


def _labs_of(reports: Sequence[MissingReport]) -> set[str]:
    return {report.lab for report in reports}
