"""Reports that a holder has shown and that have no record."""

from __future__ import annotations

from typing import NamedTuple

from services.domain.instant import Instant


class ShownReport(NamedTuple):
    """A report without a record that somebody has shown."""

    lab: str
    report_number: str
    report_time: Instant | None
    """As its holder says; None for a claim without one."""
    claim_time: Instant


class ListedReport(NamedTuple):
    """A missing report as it stands now; `close_time` is None while the report is missing."""

    report: MissingReport
    close_time: Instant | None


Position = tuple[int, str, str]
"""Where a listing stopped: creation time, laboratory and report number."""


class MissingReport(NamedTuple):
    """A report that its holder has shown and that has no record: its laboratory is to upload it."""

    lab: str
    report_number: str
    create_time: Instant
    raising_node: str
    """The region of the node where it was raised."""
