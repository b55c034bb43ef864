"""Chooses the results that a look-up returns. Pure functions.

A limit must never hide a result that governs a decision. A positive that no negative has cleared is therefore returned
even beyond the limit. A negative beyond the limit is returned if it clears a positive within the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from operator import and_
from typing import NamedTuple

from services.domain.region import within
from services.results.records.model import ACTIVE, NEGATIVE, POOL_POSITIVE, POSITIVE, StoredResult

DEFAULT_LIMIT = 3
"""The newest three from inside and three from outside the province, as the report of 11 August 2022 says."""
MAX_PER_SUBJECT = 200
"""How many of the newest results of each document and item are read. That is more than six months of daily tests."""


class LatestResults(NamedTuple):
    """A subject's newest results, newest report first, split by whether the specimen was taken in the jurisdiction."""

    in_region: Sequence[StoredResult]
    out_of_region: Sequence[StoredResult]


def pick_latest(
    newest_first: Sequence[StoredResult], jurisdiction: str, limit: int, may_report: Callable[[StoredResult], bool]
) -> LatestResults:
    """Pick at most `limit` results from the jurisdiction, and as many from outside.

    Pick also all results that no limit may hide. Each item has its own limit, and only a negative of the same item
    clears a positive. `may_report` says whether a result's laboratory was authorised at the time of the result.
    Recalled results, and results without such an authorisation, do not count: they never clear a positive, and they are
    picked only if other results do not reach the limit.
    """
    if len(newest_first) <= limit:
        picked: Sequence[StoredResult] = newest_first
    else:
        counting = [result.state == ACTIVE and may_report(result) for result in newest_first]
        chosen: set[int] = set()
        taken: Counter[tuple[str, bool]] = Counter()
        for index in sorted(range(len(newest_first)), key=lambda index: not counting[index]):
            result = newest_first[index]
            side = result.item, within(result.sample_region, jurisdiction)
            if taken[side] < limit:
                taken[side] += 1
                chosen.add(index)
        for item in {result.item for result in newest_first}:
            chosen |= _find_required(newest_first, [result.item == item for result in newest_first], counting)
        picked = [newest_first[index] for index in sorted(chosen)]
    in_region: list[StoredResult] = []
    out_of_region: list[StoredResult] = []
    for result in picked:
        (in_region if within(result.sample_region, jurisdiction) else out_of_region).append(result)
    return LatestResults(in_region, out_of_region)


def _find_required(results: Sequence[StoredResult], of_item: Sequence[bool], counting: Sequence[bool]) -> set[int]:
    """Return the indexes of an item's results that no limit may hide."""
    counts = list(map(and_, of_item, counting))
    negatives = [index for index, result in enumerate(results) if counts[index] and result.outcome == NEGATIVE]
    # If a policy counts from the report time, the negative with the latest report time expires last. If a policy counts
    # from the sample time, the negative with the latest sample time expires last.
    needed = {negatives[0], max(negatives, key=lambda index: results[index].sample_time)} if negatives else set()
    newest_sample = max((results[index].sample_time for index in needed), default=None)
    for index, result in enumerate(results):
        if result.outcome not in (POSITIVE, POOL_POSITIVE) or not counts[index]:
            continue
        if newest_sample is None or newest_sample <= result.sample_time:
            needed.add(index)
    return needed
