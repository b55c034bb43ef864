"""Receive the answers of laboratories to missing reports. The home of a laboratory speaks for it.

An answer goes from the home to all nodes: up by the change log, and down by notifications to every node but the sender.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection

from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.exchange.arrival import Applied, Arrival
from services.results.exchange.homes.find import Home
from services.results.exchange.homes.register import find_listed, read_homes
from services.results.limits import ResultsLimits
from services.results.missing_reports.answers import store_answers
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.queue import DROPPED
from services.results.missing_reports.routing import select_uploadable

_log = structlog.get_logger(__name__)


def receive_answers(
    connection: Connection, reports: Sequence[MissingReport], arrival: Arrival, limits: ResultsLimits, applied: Applied
) -> list[LoggedChange]:
    """Store answers that are newer than the stored ones. Return the changes of which other nodes are notified.

    Call it after the registrations of the same arrival are stored. Answers about reports that no laboratory could
    upload are left out, for example if the report number is the number of an identity card. A node below may send
    answers for a laboratory of which that node is not the firm home. These answers are set aside.
    """
    reports = select_uploadable(reports)
    usccs = {report.lab for report in reports}
    if not usccs:
        return []
    if arrival.from_below:
        # An answer can deny a report, and the denial counts against the holder. A provisional home may not answer,
        # because another node may later become the home.
        homes = read_homes(connection, usccs, arrival.node)
        own = [report for report in reports if homes[report.lab] == Home(arrival.sender, is_firm=True)]
        if len(own) < len(reports):
            applied.not_its_own[arrival.sender] += len(reports) - len(own)
            _log.warning(
                "a node sent answers of laboratories at home in another node; they were set aside",
                node=arrival.sender,
                set_aside="NOT_ITS_OWN",
                count=len(reports) - len(own),
            )
        reports = own
    stored, dropped = store_answers(connection, reports, find_listed(connection, usccs), limits, arrival.now)
    applied.dropped_answer_count += dropped
    numbers: dict[str, list[tuple[str, int]]] = {}
    for report in stored:
        numbers.setdefault(report.lab, []).append((report.report_number, 0))
    return [
        LoggedChange(ChangeKind.MISSING_REPORT_ANSWERS, lab, names, source=arrival.sender)
        for lab, names in sorted(numbers.items())
    ]


def count_dropped(answer_count: int) -> None:
    """Count dropped answers in the metric.

    Call this function after the commit, because a transaction may be tried again.
    """
    DROPPED.labels("limit reached").inc(answer_count)
