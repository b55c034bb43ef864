"""Answers to look-ups in columns. One message for each result would cost most of the time of a look-up in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from hutong.results.internal.v1.lookup_columns_pb2 import LookupColumns

from services.domain.names import format_item, format_lab, format_node
from services.results.lookup.pick import LatestResults
from services.results.records.model import StoredResult

if TYPE_CHECKING:
    from services.results.labs.model import Standing


def fill_columns(
    columns: LookupColumns, latest: Sequence[LatestResults], standing_of: Callable[[StoredResult], Standing]
) -> None:
    """Fill empty columns with the results of several subjects, in order."""
    columns.in_region_counts.extend([len(one.in_region) for one in latest])
    columns.out_of_region_counts.extend([len(one.out_of_region) for one in latest])
    results = [result for one in latest for result in (*one.in_region, *one.out_of_region)]
    if not results:
        return
    by_field = dict(zip(StoredResult._fields, zip(*results, strict=True), strict=True))
    columns.lab.extend(map(format_lab, by_field["lab"]))
    columns.source_node.extend(map(format_node, by_field["source_node"]))
    columns.lab_standing.extend(map(standing_of, results))
    for name in _PLAIN_FIELDS:
        getattr(columns, name).extend(by_field[name])
    if any(by_field["item"]):
        columns.item.extend(map(format_item, by_field["item"]))
    for name in _TIMES:
        getattr(columns, f"{name}_micros").extend(_or_zero(by_field[name]))


_PLAIN_FIELDS = (
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
)
"""Columns that contain a field of a stored result unchanged."""
_TIMES = ("sample_time", "receive_time", "test_time", "report_time", "upload_time", "national_receive_time")
"""Columns of instants in microseconds; 0 for a time that is not set."""


def _or_zero(times: Iterable[int | None]) -> list[int]:
    return [time or 0 for time in times]
