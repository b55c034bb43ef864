"""Missing reports: reports that a holder has shown and that have no record."""

from __future__ import annotations

from typing import NamedTuple

from services.domain.instant import Instant


class ShownReport(NamedTuple):
    """A report without a record, as a holder has shown it at `claim_time`."""

    lab: str
    report_number: str
    report_time: Instant | None
    """The report time that the holder states; None if the holder states none."""
    claim_time: Instant


class ListedReport(NamedTuple):
    """A missing report in a listing; `close_time` is when its record arrived, None while it is missing."""

    report: MissingReport
    close_time: Instant | None


Position = tuple[int, str, str]
"""Position of a listing, after its last item: creation time, laboratory and report number."""


class MissingReport(NamedTuple):
    """A report that a holder has shown and that has no record. Its laboratory ought to upload it."""

    lab: str
    report_number: str
    create_time: Instant
    raising_node: str
    """The region of the node where the holder showed the report."""
    close_time: Instant | None = None
    """When the report was uploaded; None while no record is known. Only the nation sends it to other nodes."""
