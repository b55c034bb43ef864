"""The answer to a look-up as Results sent it: as one message, or as rows of columns that several answers share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat
from operator import add
from typing import NamedTuple

from hutong.results.internal.v1.lookup_columns_pb2 import LookupColumns
from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.results.v1.results_service_pb2 import LookupLatestResponse

from services.domain.instant import set_timestamp
from services.domain.names import DEFAULT_ITEM, parse_item
from services.verification.decision.convert import record_from_proto, source_from_results
from services.verification.decision.model import Record, SourceStatus

_PLAIN_FIELDS = (
    "lab",
    "report_number",
    "revision",
    "state",
    "tube_code",
    "pool_size",
    "specimen",
    "method",
    "outcome",
    "sample_region",
    "sample_site",
    "source_node",
    "lab_standing",
)
"""Columns that hold the values of the result's fields with the same names."""
_TIME_FIELDS = ("sample_time", "receive_time", "test_time", "report_time", "upload_time", "national_receive_time")
"""Fields whose columns have names that end in `_micros`. These columns hold microseconds, or 0 for an absent time."""


class Rows(NamedTuple):
    """The rows of one answer: from `start` up to but not including `stop`."""

    columns: LookupColumns
    start: int
    stop: int


class LookupAnswer(NamedTuple):
    """What Results found for one subject.

    Attributes:
        records: the subject's results. The first `in_region_count` were sampled in the node's region, the others
            outside it.
        in_region_count: how many records were sampled in the node's region.
        sources: the services that were asked.
        claims: what was found for each claimed report, in the order of the question.
        received: the answer as it was received.
    """

    records: tuple[Record, ...]
    in_region_count: int
    sources: tuple[SourceStatus, ...]
    claims: Sequence[lookup_pb2.ClaimedReportMatch]
    received: LookupLatestResponse | Rows

    def results(self) -> Iterable[result_pb2.TestResult]:
        """Return the records as they were received, without masks."""
        if isinstance(self.received, Rows):
            return [
                _result_in_row(self.received.columns, row) for row in range(self.received.start, self.received.stop)
            ]
        return map(without_masks, (*self.received.in_region, *self.received.out_of_region))


def answer_from_message(message: LookupLatestResponse) -> LookupAnswer:
    """Return an answer that was sent as one message."""
    return LookupAnswer(
        tuple([record_from_proto(result) for result in (*message.in_region, *message.out_of_region)]),
        len(message.in_region),
        tuple([source_from_results(source) for source in message.sources]),
        message.claims,
        message,
    )


def answers_from_columns(columns: LookupColumns) -> list[LookupAnswer]:
    """Return the answers that share columns, in order."""
    sources = tuple([source_from_results(source) for source in columns.sources])
    labs, numbers = columns.lab[:], columns.report_number[:]
    fields = zip(
        [f"{lab}/results/{number}" for lab, number in zip(labs, numbers, strict=True)],
        columns.revision[:],
        columns.state[:],
        labs,
        numbers,
        columns.outcome[:],
        columns.sample_time_micros[:],
        _or_none(columns.receive_time_micros[:]),
        _or_none(columns.test_time_micros[:]),
        _or_none(columns.report_time_micros[:]),
        columns.lab_standing[:],
        map(parse_item, columns.item[:]) if columns.item else repeat(DEFAULT_ITEM, len(labs)),
        strict=True,
    )
    records = tuple(map(Record._make, fields))
    bounds = [0]
    for count in map(add, columns.in_region_counts[:], columns.out_of_region_counts[:]):
        bounds.append(bounds[-1] + count)
    return [
        LookupAnswer(records[start:stop], in_region_count, sources, (), Rows(columns, start, stop))
        for in_region_count, (start, stop) in zip(columns.in_region_counts[:], pairwise(bounds), strict=True)
    ]


def without_masks(result: result_pb2.TestResult) -> result_pb2.TestResult:
    """Return a copy without the masked name and number. No decision depends on them."""
    copy = result_pb2.TestResult()
    copy.CopyFrom(result)
    copy.ClearField("masked_name")
    copy.ClearField("masked_number")
    return copy


def _result_in_row(columns: LookupColumns, row: int) -> result_pb2.TestResult:
    result = result_pb2.TestResult(**{name: getattr(columns, name)[row] for name in _PLAIN_FIELDS})
    result.name = f"{result.lab}/results/{result.report_number}"
    if columns.item:
        result.item = columns.item[row]
    for name in _TIME_FIELDS:
        if time := getattr(columns, f"{name}_micros")[row]:
            set_timestamp(getattr(result, name), time)
    return result


def _or_none(times: Iterable[int]) -> list[int | None]:
    return [time or None for time in times]
