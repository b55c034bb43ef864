"""Merges this node's answer about a subject with the answer of the node above. Pure functions.

If both nodes have a report, the greater revision counts. If the revisions are equal, this node's revision counts. If
both nodes know the laboratory, the stricter standing counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    SOURCE_STATE_UNAVAILABLE,
    DataSource,
)

from services.domain.instant import SECOND, Instant, Span, from_timestamp, set_timestamp
from services.domain.names import format_node, parse_node
from services.domain.region import NATION, within
from services.results.labs.model import MAY_REPORT, NOT_AUTHORIZED, STANDING_UNKNOWN, WARNED
from services.results.lookup.model import RemoteMatch
from services.results.records.model import StoredResult

if TYPE_CHECKING:
    from services.results.labs.model import Standing

_NATION = format_node(NATION)
LISTED_LAG: Span = 10 * SECOND
"""How far behind a node may be before it is listed as a source of its own."""


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
    """Return the stricter of two standings. STANDING_UNKNOWN counts as the least strict."""
    for standing in (one, other):
        if standing in NOT_AUTHORIZED:
            return standing
    if WARNED in (one, other):
        return WARNED
    return one if one in MAY_REPORT or other == STANDING_UNKNOWN else other


def absent_sources(above: str | None) -> list[DataSource]:
    """Return the sources above that did not answer: the node `above` and the nation.

    `above` is None at a node without an upstream.
    """
    if above is None:
        return [DataSource(node=_NATION, state=SOURCE_STATE_NOT_CONFIGURED)]
    return [DataSource(node=node, state=SOURCE_STATE_UNAVAILABLE) for node in dict.fromkeys((above, _NATION))]


def select_late(sources: Iterable[DataSource], now: Instant) -> list[DataSource]:
    """Return the sources that are disconnected or more than LISTED_LAG behind."""
    return [
        source
        for source in sources
        if source.state != SOURCE_STATE_OK or from_timestamp(source.as_of_time) < now - LISTED_LAG
    ]


def condense_sources(sources: Sequence[DataSource], asking: str) -> list[DataSource]:
    """Return the sources of the node above in the short form in which a look-up returns them.

    The node above comes first and stands for all nodes that are connected to it. Its instant is the earliest instant up
    to which any of these nodes is complete. Nodes that are disconnected or more than LISTED_LAG behind are listed too,
    and the nation always is. The `asking` node and the nodes below it are left out, because the `asking` node has their
    results. At the nation itself, `sources` are the sources of the nation's own store.
    """
    (above, *others) = sources
    region = parse_node(asking)
    if asking != above.node:
        others = [source for source in others if not within(parse_node(source.node), region)]
    answering = [source for source in others if source.state == SOURCE_STATE_OK]
    now = from_timestamp(above.as_of_time)
    complete = min([now, *(from_timestamp(source.as_of_time) for source in answering)])
    condensed = DataSource(node=above.node, state=SOURCE_STATE_OK)
    set_timestamp(condensed.as_of_time, complete)
    if above.HasField("retention_start_time"):
        condensed.retention_start_time.CopyFrom(above.retention_start_time)
    late = select_late(others, now)
    return [condensed, *(one for one in others if one in late or one.node == _NATION)]
