"""The newest results of a person: which of them a look-up tells. Pure.

A limit must never hide what governs a decision: a positive result outside the limit that nothing has cleared is told
all the same, and so is the negative that clears a positive inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.region import within
from services.results.model import ACTIVE, NEGATIVE, POOL_POSITIVE, POSITIVE, StoredResult

DEFAULT_LIMIT = 3
"""By the report of 11 August 2022: the newest three from inside and from outside the province."""
MAX_PER_PERSON = 200
"""How many of a person's newest results are looked at: more than six months of daily tests."""


@dataclass(frozen=True, slots=True)
class LatestResults:
    """A person's newest results, newest report first, by where the specimen was taken."""

    in_region: tuple[StoredResult, ...]
    out_of_region: tuple[StoredResult, ...]


def pick_latest(newest_first: Sequence[StoredResult], jurisdiction: str, limit: int) -> LatestResults:
    """Pick at most `limit` results taken in the jurisdiction and as many taken outside, and what must not be hidden."""
    if len(newest_first) <= limit:
        picked: Sequence[StoredResult] = newest_first
    else:
        chosen: set[int] = set()
        room = {True: limit, False: limit}
        for index, result in enumerate(newest_first):
            inside = within(result.sample_region, jurisdiction)
            if room[inside]:
                room[inside] -= 1
                chosen.add(index)
        chosen |= _not_to_be_hidden(newest_first, chosen)
        picked = [newest_first[index] for index in sorted(chosen)]
    return LatestResults(
        tuple(result for result in picked if within(result.sample_region, jurisdiction)),
        tuple(result for result in picked if not within(result.sample_region, jurisdiction)),
    )


def _not_to_be_hidden(results: Sequence[StoredResult], chosen: set[int]) -> set[int]:
    negatives = [i for i, r in enumerate(results) if r.outcome == NEGATIVE and r.state == ACTIVE]
    newest_negative = max(negatives, key=lambda index: results[index].sample_time, default=None)
    needed: set[int] = set()
    for index, result in enumerate(results):
        if result.outcome not in (POSITIVE, POOL_POSITIVE) or result.state != ACTIVE:
            continue
        cleared = newest_negative is not None and results[newest_negative].sample_time > result.sample_time
        if not cleared:
            needed.add(index)
        elif index in chosen and newest_negative is not None:
            needed.add(newest_negative)
    return needed
