"""How the answers to look-ups are read."""

from __future__ import annotations

from hutong.results.internal.v1.lookup_columns_pb2 import LookupColumns

from services.verification.sources.lookup_answer import answers_from_columns


def test_both_sides_are_separate_in_columns() -> None:
    """In each answer, the rows of the node's own region come first."""
    columns = LookupColumns(in_region_counts=[1, 0], out_of_region_counts=[1, 2])
    for name in ("lab", "report_number"):
        getattr(columns, name).extend("ABCD")
    for name in ("revision", "state", "outcome", "lab_standing"):
        getattr(columns, name).extend([1] * 4)
    for name in ("sample_time", "receive_time", "test_time", "report_time"):
        getattr(columns, f"{name}_micros").extend([1] * 4)
    told = [
        (found.in_region_count, [record.lab for record in found.records]) for found in answers_from_columns(columns)
    ]
    assert told == [(1, ["A", "B"]), (0, ["C", "D"])]
