"""Merging of this node's and the nation's results of one subject, as pure functions.

If both have a report, the greater revision counts. If the revisions are equal, this node's counts. If both know the
laboratory, the stricter standing counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from services.results.labs.model import MAY_REPORT, NOT_AUTHORIZED, STANDING_UNKNOWN, WARNED
from services.results.lookup.model import RemoteMatch
from services.results.records.model import StoredResult

if TYPE_CHECKING:
    from services.results.labs.model import Standing


def merge_results(
    local: Sequence[StoredResult], standing_at: Callable[[StoredResult], Standing], nationwide: Sequence[RemoteMatch]
) -> list[RemoteMatch]:
    """Return all results of a subject, newest report first, each report once, with its laboratory's standing."""
    merged = {(result.lab, result.report_number): RemoteMatch(result, standing_at(result)) for result in local}
    for match in nationwide:
        name = (match.result.lab, match.result.report_number)
        here = merged.get(name)
        if here is None:
            merged[name] = match
        else:
            newest = match.result if match.result.revision > here.result.revision else here.result
            merged[name] = RemoteMatch(newest, stricter(here.standing, match.standing))
    return sorted(merged.values(), key=lambda match: match.result.reference_time, reverse=True)


def stricter(one: Standing, other: Standing) -> Standing:
    """Return the stricter of two standings. STANDING_UNKNOWN never overrides the other."""
    for standing in (one, other):
        if standing in NOT_AUTHORIZED:
            return standing
    if WARNED in (one, other):
        return WARNED
    return one if one in MAY_REPORT or other == STANDING_UNKNOWN else other
