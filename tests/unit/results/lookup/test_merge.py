"""What a province and the nation know of one person, told as one: against a merge that looks at everything."""

from __future__ import annotations

from typing import TypeAlias

from hutong.results.v1.lab_pb2 import LabStanding
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, SOURCE_STATE_UNAVAILABLE, DataSource
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import SECOND, set_timestamp
from services.results.labs.model import AUTHORIZED, NOT_AUTHORIZED, STANDING_UNKNOWN
from services.results.lookup.merge import merge_results, stricter
from services.results.lookup.model import RemoteMatch
from services.results.lookup.nationwide import LAGGING, condense_sources
from services.results.lookup.pick import pick_latest
from services.results.records.model import ACTIVE, RECALLED, StoredResult
from tests.support.results.factories import NEGATIVE, NOW, PENDING, POOL_POSITIVE, POSITIVE
from tests.support.results.stored import PROVINCE, may_report, stored

HERE, BOTH, THERE = "here", "both", "there"
Report: TypeAlias = tuple[str, int, str, int, int, tuple[int, int]]
reports = st.lists(
    st.tuples(
        st.sampled_from([HERE, BOTH, THERE]),
        st.sampled_from([PENDING, NEGATIVE, NEGATIVE, POSITIVE, POOL_POSITIVE]),
        st.sampled_from(["410105", "220502", "410000"]),
        st.integers(0, 10**6),
        st.sampled_from([ACTIVE, ACTIVE, RECALLED]),
        st.tuples(st.integers(1, 3), st.integers(1, 3)),
    ),
    max_size=14,
    unique_by=lambda one: one[3],
)
"""Reports of one person: where each is known, what it says, when it was sampled, and its revision on either side."""


def known_by(side: str, several: list[Report], *, agreeing: bool) -> list[StoredResult]:
    """What one side knows, newest report first."""
    results = []
    for place, (where, outcome, region, sampled, state, revisions) in enumerate(several, 1):
        if where in (side, BOTH):
            result = stored(place, outcome, region=region, sampled=sampled, state=state)
            # The mask tells which side a result is from.
            revision = 1 if agreeing else revisions[side == THERE]
            results.append(result._replace(revision=revision, masked_name="王*" if side == HERE else ""))
    return sorted(results, key=lambda result: -result.reference_time)


def tell(results: list[StoredResult]) -> list[RemoteMatch]:
    """The same as the nation tells it."""
    return [RemoteMatch(result, AUTHORIZED) for result in results]


@given(reports)
def test_of_each_report_the_greater_revision_is_told_and_of_equal_ones_this_node_s(several: list[Report]) -> None:
    local, nationwide = (known_by(side, several, agreeing=False) for side in (HERE, THERE))
    merged = [one.result for one in merge_results(local, lambda _: AUTHORIZED, tell(nationwide))]
    naive: dict[str, StoredResult] = {}
    for result in (*local, *nationwide):
        best = naive.get(result.report_number)
        if best is None or result.revision > best.revision:
            naive[result.report_number] = result
    assert {result.report_number: result for result in merged} == naive
    assert len(merged) == len(naive)
    assert [result.reference_time for result in merged] == sorted((one.reference_time for one in merged), reverse=True)


@given(reports, st.integers(1, 4))
def test_what_the_nation_leaves_out_beyond_a_limit_is_not_missed(several: list[Report], limit: int) -> None:
    """Merging with what the nation picks is picking from what both know."""
    local, nationwide = (known_by(side, several, agreeing=True) for side in (HERE, THERE))
    picked = pick_latest(nationwide, PROVINCE, limit, may_report)
    told, everything = (
        [one.result for one in merge_results(local, lambda _: AUTHORIZED, tell(results))]
        for results in ([*picked.in_region, *picked.out_of_region], nationwide)
    )
    assert pick_latest(told, PROVINCE, limit, may_report) == pick_latest(everything, PROVINCE, limit, may_report)


@given(st.sampled_from(LabStanding.values()), st.sampled_from(LabStanding.values()))
def test_a_laboratory_stands_as_the_stricter_of_two_knows_it(one: int, other: int) -> None:
    """Forbidden for either is forbidden; who does not know the laboratory says nothing."""
    told = stricter(one, other)  # type: ignore[arg-type]
    assert told in (one, other)
    assert (told in NOT_AUTHORIZED) == (one in NOT_AUTHORIZED or other in NOT_AUTHORIZED)
    assert (told == STANDING_UNKNOWN) == (one == other == STANDING_UNKNOWN)


def source(region: str, behind: int | None, *, answers: bool = True) -> DataSource:
    """A node whose results are known at the nation up to so long ago."""
    told = DataSource(node=f"nodes/{region}", state=SOURCE_STATE_OK if answers else SOURCE_STATE_UNAVAILABLE)
    if behind is not None:
        set_timestamp(told.as_of_time, NOW - behind)
    return told


def test_only_provinces_that_lag_or_are_silent_are_told_of_by_themselves() -> None:
    """The nation's own instant is the least of those that answer; the asking node has its own results."""
    sources = [
        source("000000", 0),
        source("220000", LAGGING + SECOND),
        source("370000", LAGGING),
        source("410000", None, answers=False),
        source("440000", None, answers=False),
    ]
    told = condense_sources(sources, "nodes/410000")
    assert [one.node for one in told] == ["nodes/000000", "nodes/220000", "nodes/440000"]
    assert told[0].as_of_time == sources[1].as_of_time
    assert told[0].state == SOURCE_STATE_OK


def test_a_silent_province_takes_nothing_from_the_instant_of_those_that_answer() -> None:
    """Up to when the silent one is known is told with it alone."""
    told = condense_sources([source("000000", 0), source("220000", 90 * SECOND, answers=False)], "nodes/410000")
    assert [(one.node, one.as_of_time) for one in told] == [
        ("nodes/000000", source("000000", 0).as_of_time),
        ("nodes/220000", source("220000", 90 * SECOND).as_of_time),
    ]
