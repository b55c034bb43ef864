"""What this node and the nation know of one person, as one. Pure.

Of a report that both know the greater revision counts, of equal ones this node's. A laboratory stands as the stricter
of the two knows it.
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
    """All results of a person, newest report first, each report once, with its laboratory's standing."""
    merged = {(result.lab, result.report_number): RemoteMatch(result, standing_at(result)) for result in local}
    for known in nationwide:
        name = (known.result.lab, known.result.report_number)
        here = merged.get(name)
        if here is None:
            merged[name] = known
        else:
            newest = known.result if known.result.revision > here.result.revision else here.result
            merged[name] = RemoteMatch(newest, stricter(here.standing, known.standing))
    return sorted(merged.values(), key=lambda known: known.result.reference_time, reverse=True)


def stricter(one: Standing, other: Standing) -> Standing:
    """The standing that counts of two: who does not know the laboratory says nothing against it."""
    for standing in (one, other):
        if standing in NOT_AUTHORIZED:
            return standing
    if WARNED in (one, other):
        return WARNED
    return one if one in MAY_REPORT or other == STANDING_UNKNOWN else other
