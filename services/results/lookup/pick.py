"""The newest results of a person: which of them a look-up tells. Pure.

A limit must never hide what governs a decision: a positive result outside the limit that nothing has cleared is told
all the same, and so is the negative that clears a positive inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.domain.region import within
from services.results.records.model import ACTIVE, NEGATIVE, POOL_POSITIVE, POSITIVE, StoredResult

DEFAULT_LIMIT = 3
"""By the report of 11 August 2022: the newest three from inside and from outside the province."""
MAX_PER_SUBJECT = 200
"""How many of a person's newest results are looked at: more than six months of daily tests."""


class LatestResults(NamedTuple):
    """A person's newest results, newest report first, by where the specimen was taken."""

    in_region: Sequence[StoredResult]
    out_of_region: Sequence[StoredResult]


def pick_latest(
    newest_first: Sequence[StoredResult], jurisdiction: str, limit: int, may_report: Callable[[StoredResult], bool]
) -> LatestResults:
    """Pick at most `limit` results taken in the jurisdiction and as many taken outside, and what must not be hidden.

    `may_report` says whether a result's laboratory was authorised at its time; results that count for nothing take up
    only the room that others leave, and clear nobody.
    """
    if len(newest_first) <= limit:
        picked: Sequence[StoredResult] = newest_first
    else:
        counting = [result.state == ACTIVE and may_report(result) for result in newest_first]
        chosen: set[int] = set()
        room = {True: limit, False: limit}
        for index in sorted(range(len(newest_first)), key=lambda index: not counting[index]):
            inside = within(newest_first[index].sample_region, jurisdiction)
            if room[inside]:
                room[inside] -= 1
                chosen.add(index)
        chosen |= _not_to_be_hidden(newest_first, counting, chosen)
        picked = [newest_first[index] for index in sorted(chosen)]
    in_region: list[StoredResult] = []
    out_of_region: list[StoredResult] = []
    for result in picked:
        (in_region if within(result.sample_region, jurisdiction) else out_of_region).append(result)
    return LatestResults(in_region, out_of_region)


def _not_to_be_hidden(results: Sequence[StoredResult], counting: Sequence[bool], chosen: set[int]) -> set[int]:
    negatives = [index for index, result in enumerate(results) if counting[index] and result.outcome == NEGATIVE]
    # Whichever time a place counts from, one of these two is the last to expire.
    needed = {negatives[0], max(negatives, key=lambda index: results[index].sample_time)} if negatives else set()
    newest_sample = max((results[index].sample_time for index in needed), default=None)
    for index, result in enumerate(results):
        if result.outcome not in (POSITIVE, POOL_POSITIVE) or not counting[index]:
            continue
        if newest_sample is None or newest_sample <= result.sample_time:
            needed.add(index)
    return needed - chosen
