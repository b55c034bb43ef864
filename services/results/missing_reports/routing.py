"""Routing of missing reports to the node that lists them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.store import can_be_missing, list_at_home


class RoutedReports(NamedTuple):
    """Missing reports that a node has sent and that are new here.

    Attributes:
        passed_on: the reports of which other nodes must be notified.
        listed: the reports that this node or the sender lists as the home of their laboratories. The node above lists
            them too.
    """

    passed_on: Sequence[MissingReport] = ()
    listed: Sequence[MissingReport] = ()


class MissingReportRouter(Protocol):
    """Stores missing reports, and passes reports of other nodes' laboratories on to these nodes.

    All methods run in the caller's transaction.
    """

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store reports that holders have shown at this node, and pass on those of other nodes' laboratories.

        Return how many reports were dropped because a capacity is used up.
        """
        ...

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str, /) -> RoutedReports:
        """Store reports that the node `sender` sent."""
        ...

    def receive_labs(self, connection: Connection, usccs: Collection[str], /) -> list[MissingReport]:
        """Stop listing the reports of laboratories that another node has registered.

        Return these reports, so that the other node is notified.
        """
        ...


def select_uploadable(reports: Sequence[MissingReport]) -> list[MissingReport]:
    """Return the reports that their laboratories could upload (`can_be_missing`)."""
    return [report for report in reports if can_be_missing(report.lab, report.report_number)]


def missing_report_changes(reports: Sequence[MissingReport]) -> list[LoggedChange]:
    """Return the change log's changes for missing reports: one for each laboratory and raising node.

    The node that raised a report must learn when the report is closed. A change that closes reports therefore names the
    raising node as its maker. Any other change names the raising node as its source.
    """
    names: dict[tuple[str, str, bool], list[tuple[str, int]]] = {}
    for report in reports:
        is_closed = report.close_time is not None
        names.setdefault((report.lab, report.raising_node, is_closed), []).append((report.report_number, 0))
    return [
        LoggedChange(
            ChangeKind.MISSING_REPORTS,
            lab,
            numbers,
            source="" if is_closed else raising_node,
            maker=raising_node if is_closed else "",
        )
        for (lab, raising_node, is_closed), numbers in sorted(names.items())
    ]


def listed_report_changes(reports: Sequence[MissingReport]) -> list[LoggedChange]:
    """Return the change log's changes for missing reports that the node above lists too: one for each laboratory."""
    names: dict[str, list[tuple[str, int]]] = {}
    for report in reports:
        names.setdefault(report.lab, []).append((report.report_number, 0))
    return [LoggedChange(ChangeKind.LISTED_MISSING_REPORTS, lab, numbers) for lab, numbers in sorted(names.items())]


def list_at_new_home(connection: Connection, changes: Sequence[LoggedChange], _now: Instant) -> None:
    """List the reports of newly registered laboratories, which were passed on until now.

    A subscriber of the change log.
    """
    for change in changes:
        if change.kind is ChangeKind.LABS and change.is_new:
            for uscc, _ in change.names:
                list_at_home(connection, uscc)
