"""Missing reports: reports that a holder has shown and that have no record."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.results.v1 import missing_report_pb2

from services.domain.instant import Instant

if TYPE_CHECKING:
    Answer: TypeAlias = missing_report_pb2.MissingReportAnswer.ValueType

NOT_OURS = missing_report_pb2.MISSING_REPORT_ANSWER_NOT_OURS
TO_FOLLOW = missing_report_pb2.MISSING_REPORT_ANSWER_TO_FOLLOW


class LabAnswer(NamedTuple):
    """What a laboratory has answered to a missing report.

    Attributes:
        answer_time: when its node recorded the answer. Of two answers the later one counts.
        expected_time: when the laboratory expects to upload the report; None if it has not said.
        actor: who answered. Only the node where the answer was given knows this; None at other nodes.
    """

    answer: Answer
    answer_time: Instant
    expected_time: Instant | None = None
    actor: str = ""


def newer_answer(one: LabAnswer | None, other: LabAnswer | None) -> LabAnswer | None:
    """Return the later of two answers; None if there is none. If their times are equal, return `one`."""
    if one is None or (other is not None and other.answer_time > one.answer_time):
        return other
    return one


class ShownReport(NamedTuple):
    """A report without a record, as a holder showed it at `claim_time`."""

    lab: str
    report_number: str
    report_time: Instant | None
    """The report time that the holder states; None if the holder states none."""
    claim_time: Instant


class ListedReport(NamedTuple):
    """A missing report in a listing. `close_time` is when its record arrived; None while the report is missing."""

    report: MissingReport
    close_time: Instant | None


Position = tuple[int, str, str]
"""The position of the last item of a page of a listing: creation time, laboratory and report number."""


class MissingReport(NamedTuple):
    """A report that a holder has shown and that has no record. Its laboratory ought to upload it."""

    lab: str
    report_number: str
    create_time: Instant
    raising_node: str
    """The region of the node where the holder showed the report."""
    close_time: Instant | None = None
    """When the report was uploaded; None while no record is known. Only the nation sends this time to other nodes."""
    answer: LabAnswer | None = None
    """The laboratory's answer; None while there is no answer."""
