"""Routing: at which node a missing report is listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.store import can_be_missing, find_registered, list_at_home, store_missing


class MissingReportRouter(Protocol):
    """Stores missing reports, and passes on those of other nodes' laboratories."""

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store what was shown at this node and pass on what is not its own; how many found no capacity."""
        ...

    def receive(self, connection: Connection, reports: Sequence[MissingReport], sender: str, /) -> list[MissingReport]:
        """Store what another node passed on. Those that the laboratories' own nodes must now be told of."""
        ...

    def receive_labs(self, connection: Connection, usccs: Collection[str], /) -> list[MissingReport]:
        """Note that a node has told of these laboratories. Missing reports that it must now be told of."""
        ...


class UpwardRouter:
    """Routing at a node below the nation: what is not its own goes up by the change log."""

    def __init__(self, change_log: ChangeLog, *, has_upstream: bool) -> None:
        self._change_log = change_log
        self._has_upstream = has_upstream

    def raise_reports(self, connection: Connection, reports: Sequence[MissingReport], now: Instant) -> int:
        """Store what was shown here, and log what is another node's for the node above."""
        if not self._has_upstream:
            return store_missing(connection, reports, ())[1]
        usccs = {report.lab for report in reports}
        elsewhere = usccs - find_registered(connection, usccs)
        stored, found_no_capacity = store_missing(connection, reports, elsewhere)
        passed_on = [report for report in stored if report.lab in elsewhere]
        self._change_log.record(connection, missing_report_changes(passed_on), now)
        return found_no_capacity

    def receive(self, connection: Connection, reports: Sequence[MissingReport], _sender: str) -> list[MissingReport]:
        """List what the node above passed on: it tells only the node that has registered the laboratory."""
        store_missing(connection, select_uploadable(reports), ())
        return []

    def receive_labs(self, _connection: Connection, _usccs: Collection[str]) -> list[MissingReport]:
        """Nothing: no laboratory's home is below this node."""
        return []


def select_uploadable(reports: Sequence[MissingReport]) -> list[MissingReport]:
    """The reports that a laboratory could upload under their numbers."""
    return [report for report in reports if can_be_missing(report.lab, report.report_number)]


def missing_report_changes(reports: Sequence[MissingReport]) -> list[LoggedChange]:
    """Missing reports as the change log is told of them: by laboratory, and by the node that raised them."""
    names: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for report in reports:
        names.setdefault((report.lab, report.raising_node), []).append((report.report_number, 0))
    return [
        LoggedChange(ChangeKind.MISSING_REPORTS, lab, numbers, source=raising_node)
        for (lab, raising_node), numbers in sorted(names.items())
    ]


def list_at_new_home(connection: Connection, changes: Sequence[LoggedChange], _now: Instant) -> None:
    """List what was passed on before its laboratory was registered at this node. A subscriber of the change log."""
    for change in changes:
        if change.kind is ChangeKind.LABS and change.is_new:
            for uscc, _ in change.names:
                list_at_home(connection, uscc)
