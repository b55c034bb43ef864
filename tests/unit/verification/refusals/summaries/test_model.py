"""Medians from times that come in ascending order."""

from __future__ import annotations

from statistics import median
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.verification.refusals.summaries.model import medians

REPORTS = st.lists(st.tuples(st.sets(st.integers(1, 3), min_size=1), st.integers(0, 99)))


@given(REPORTS)
def test_medians_are_those_of_all_times_and_of_each_ground(reports: list[tuple[set[int], int]]) -> None:
    """A report with two grounds counts for each, and once for all. A ground without a time has no median."""
    of_ground = {0: [time for _, time in reports]}
    for ground in (1, 2, 3):
        of_ground[ground] = [time for grounds, time in reports if ground in grounds]
    counts: Any = {ground: len(times) for ground, times in of_ground.items()}
    times: Any = [(tuple(grounds), time) for grounds, time in sorted(reports, key=lambda report: report[1])]
    assert medians(times, counts) == {ground: round(median(some)) for ground, some in of_ground.items() if some}
