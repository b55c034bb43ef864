"""Merging of a province's and the nation's results of one subject, compared with a naive merge."""

from __future__ import annotations

from typing import TypeAlias

from hutong.results.v1.lab_pb2 import LabStanding
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, SOURCE_STATE_UNAVAILABLE, DataSource
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import SECOND, set_timestamp
from services.results.labs.model import AUTHORIZED, NOT_AUTHORIZED, STANDING_UNKNOWN
from services.results.lookup.merge import LISTED_LAG, condense_sources, merge_results, stricter
from services.results.lookup.model import RemoteMatch
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
"""Reports of one subject: which side has each, its outcome, region, sample time and state, and its two revisions."""


def known_at(side: str, several: list[Report], *, equal: bool) -> list[StoredResult]:
    """Return the results of one side, newest report first."""
    results = []
    for number, (where, outcome, region, sampled, state, revisions) in enumerate(several, 1):
        if where in (side, BOTH):
            result = stored(number, outcome, region=region, sampled=sampled, state=state)
            # The mask shows from which side a result is.
            revision = 1 if equal else revisions[side == THERE]
            results.append(result._replace(revision=revision, masked_name="王*" if side == HERE else ""))
    return sorted(results, key=lambda result: -result.reference_time)


def as_remote(results: list[StoredResult]) -> list[RemoteMatch]:
    """Return results as the nation returns them."""
    return [RemoteMatch(result, AUTHORIZED) for result in results]


@given(reports)
def test_greater_revision_is_returned_and_this_node_s_if_they_are_equal(several: list[Report]) -> None:
    local, nationwide = (known_at(side, several, equal=False) for side in (HERE, THERE))
    merged = [one.result for one in merge_results(local, lambda _: AUTHORIZED, as_remote(nationwide))]
    naive: dict[str, StoredResult] = {}
    for result in (*local, *nationwide):
        best = naive.get(result.report_number)
        if best is None or result.revision > best.revision:
            naive[result.report_number] = result
    assert {result.report_number: result for result in merged} == naive
    assert len(merged) == len(naive)
    assert [result.reference_time for result in merged] == sorted((one.reference_time for one in merged), reverse=True)


@given(reports, st.integers(1, 4))
def test_results_that_the_nation_omits_beyond_its_limit_are_not_needed(several: list[Report], limit: int) -> None:
    """Merging with the nation's pick gives the same pick as merging with everything it has."""
    local, nationwide = (known_at(side, several, equal=True) for side in (HERE, THERE))
    picked = pick_latest(nationwide, PROVINCE, limit, may_report)
    returned, everything = (
        [one.result for one in merge_results(local, lambda _: AUTHORIZED, as_remote(results))]
        for results in ([*picked.in_region, *picked.out_of_region], nationwide)
    )
    assert pick_latest(returned, PROVINCE, limit, may_report) == pick_latest(everything, PROVINCE, limit, may_report)


@given(st.sampled_from(LabStanding.values()), st.sampled_from(LabStanding.values()))
def test_stricter_standing_counts(one: int, other: int) -> None:
    """A laboratory that either side forbids is forbidden. An unknown standing changes nothing."""
    returned = stricter(one, other)  # type: ignore[arg-type]
    assert returned in (one, other)
    assert (returned in NOT_AUTHORIZED) == (one in NOT_AUTHORIZED or other in NOT_AUTHORIZED)
    assert (returned == STANDING_UNKNOWN) == (one == other == STANDING_UNKNOWN)


def source(region: str, behind: int | None, *, answers: bool = True) -> DataSource:
    """Return a source of which the nation has all results up to `behind` ago."""
    returned = DataSource(node=f"nodes/{region}", state=SOURCE_STATE_OK if answers else SOURCE_STATE_UNAVAILABLE)
    if behind is not None:
        set_timestamp(returned.as_of_time, NOW - behind)
    return returned


def test_only_provinces_that_lag_or_are_disconnected_are_listed() -> None:
    """The nation's instant is the earliest of the connected nodes. The asking node is left out."""
    sources = [
        source("000000", 0),
        source("220000", LISTED_LAG + SECOND),
        source("370000", LISTED_LAG),
        source("410000", None, answers=False),
        source("440000", None, answers=False),
    ]
    set_timestamp(sources[0].retention_start_time, NOW - 60 * SECOND)
    returned = condense_sources(sources, "nodes/410000")
    assert [one.node for one in returned] == ["nodes/000000", "nodes/220000", "nodes/440000"]
    assert returned[0].as_of_time == sources[1].as_of_time
    assert returned[0].state == SOURCE_STATE_OK
    assert returned[0].retention_start_time == sources[0].retention_start_time


def test_disconnected_province_does_not_lower_the_instant_of_the_others() -> None:
    """The instant of the disconnected province is only at its own source."""
    returned = condense_sources([source("000000", 0), source("220000", 90 * SECOND, answers=False)], "nodes/410000")
    assert [(one.node, one.as_of_time) for one in returned] == [
        ("nodes/000000", source("000000", 0).as_of_time),
        ("nodes/220000", source("220000", 90 * SECOND).as_of_time),
    ]
