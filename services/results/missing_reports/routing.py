"""Routing of missing reports to the node that lists them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.limits import ResultsLimits
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.store import (
    can_be_missing,
    close_missing,
    find_registered,
    list_at_home,
    store_missing,
)


class MissingReportRouter(Protocol):
    """Stores missing reports, and passes those of other nodes' laboratories on to these nodes.

    All methods run in the caller's transaction.
    """

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports shown at this node and pass on those of other nodes' laboratories.

        Return how many were dropped because a capacity was used up.
        """
        ...

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str, /) -> list[MissingReport]:
        """Store reports that the node `sender` sent. Return those that other nodes must be notified of."""
        ...

    def receive_labs(self, connection: Connection, usccs: Collection[str], /) -> list[MissingReport]:
        """Stop listing reports of laboratories that a node has registered. Return them to notify that node."""
        ...


class UpwardRouter:
    """Routing at a province: reports of other nodes' laboratories are sent to the nation by the change log."""

    def __init__(self, change_log: ChangeLog, limits: ResultsLimits, *, has_upstream: bool) -> None:
        self._change_log = change_log
        self._limits = limits
        self._has_upstream = has_upstream

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports shown here, and log those of other nodes' laboratories for the nation.

        Without an upstream all are listed here. Return how many were dropped because a capacity was used up.
        """
        if not self._has_upstream:
            return store_missing(connection, reports, (), self._limits)[1]
        usccs = {report.lab for report in reports}
        elsewhere = usccs - find_registered(connection, usccs)
        stored, found_no_capacity = store_missing(connection, reports, elsewhere, self._limits)
        passed_on = [report for report in stored if report.lab in elsewhere]
        self._change_log.record(connection, missing_report_changes(passed_on), now)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], _sender: str) -> list[MissingReport]:
        """List reports from the nation, or close them. The nation sends each only to nodes that may list it."""
        closed = [report for report in reports if report.close_time is not None]
        missing = [report for report in reports if report.close_time is None]
        close_missing(connection, closed)
        store_missing(connection, select_uploadable(missing), (), self._limits)
        return []

    def receive_labs(self, _connection: Connection, _usccs: Collection[str]) -> list[MissingReport]:
        """Return nothing, because no node is below this one."""
        return []


def select_uploadable(reports: Sequence[MissingReport]) -> list[MissingReport]:
    """Return the reports whose laboratory could upload them under their numbers."""
    return [report for report in reports if can_be_missing(report.lab, report.report_number)]


def missing_report_changes(reports: Sequence[MissingReport]) -> list[LoggedChange]:
    """Return the change log's changes for missing reports: one for each laboratory and raising node."""
    names: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for report in reports:
        names.setdefault((report.lab, report.raising_node), []).append((report.report_number, 0))
    return [
        LoggedChange(ChangeKind.MISSING_REPORTS, lab, numbers, source=raising_node)
        for (lab, raising_node), numbers in sorted(names.items())
    ]


def list_at_new_home(connection: Connection, changes: Sequence[LoggedChange], _now: Instant) -> None:
    """List reports that were passed on before this node registered their laboratory. A subscriber of the change log."""
    for change in changes:
        if change.kind is ChangeKind.LABS and change.is_new:
            for uscc, _ in change.names:
                list_at_home(connection, uscc)
