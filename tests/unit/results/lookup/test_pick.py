"""The results of a subject that a look-up returns: the newest, and all that govern a decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.domain.region import within
from services.results.lookup.pick import pick_latest
from services.results.records.model import ACTIVE, RECALLED, StoredResult
from tests.support.results.factories import NEGATIVE, PENDING, POOL_POSITIVE, POSITIVE
from tests.support.results.stored import PROVINCE, REVOKED, may_report, stored


def test_the_newest_of_each_side_are_returned() -> None:
    """Three from inside the jurisdiction and three from outside, newest first."""
    results = [stored(number, region="410105" if number % 2 else "220502") for number in range(20, 0, -1)]
    latest = pick_latest(results, PROVINCE, 3, may_report)
    assert [result.report_number for result in latest.in_region] == ["R19", "R17", "R15"]
    assert [result.report_number for result in latest.out_of_region] == ["R20", "R18", "R16"]


def test_an_uncleared_positive_is_returned_beyond_the_limit() -> None:
    """Ten newer negatives do not clear it, because their specimens were taken before its own."""
    old = stored(1, POSITIVE, sampled=500)
    results = [*(stored(number, sampled=400) for number in range(12, 2, -1)), old]
    assert pick_latest(results, PROVINCE, 2, may_report).in_region[-1] == old
    cleared = [*results[:-1], old._replace(sample_time=399)]
    assert len(pick_latest(cleared, PROVINCE, 2, may_report).in_region) == 2


def test_a_recalled_positive_needs_no_clearing_and_a_recalled_negative_clears_nothing() -> None:
    newer = [stored(number, PENDING) for number in range(12, 2, -1)]
    assert len(pick_latest([*newer, stored(1, POSITIVE, state=RECALLED)], PROVINCE, 2, may_report).in_region) == 2
    hidden = [*newer, stored(2, state=RECALLED, sampled=900), stored(1, POSITIVE)]
    assert pick_latest(hidden, PROVINCE, 2, may_report).in_region[-1].outcome == POSITIVE


def test_every_item_has_its_own_limit() -> None:
    """Many newer results of one item hide neither a negative nor an uncleared positive of another."""
    many = [stored(number, item="b") for number in range(30, 10, -1)]
    few = [stored(9), stored(8, item="c"), stored(7, POSITIVE, item="a")]
    latest = pick_latest([*many, *few], PROVINCE, 2, may_report).in_region
    assert [result.report_number for result in latest] == ["R30", "R29", "R9", "R8", "R7"]


outcomes = st.sampled_from([PENDING, NEGATIVE, POSITIVE, POOL_POSITIVE])
persons = st.lists(
    st.tuples(
        outcomes,
        st.sampled_from(["410105", "220502", "410000"]),
        st.integers(0, 60),
        st.sampled_from([ACTIVE, RECALLED]),
        st.sampled_from(["91220501MA0HUTNG0T", REVOKED]),
    ),
    max_size=14,
).map(
    lambda several: [
        stored(len(several) - number, outcome, region=region, sampled=sampled, state=state, lab=lab)
        for number, (outcome, region, sampled, state, lab) in enumerate(several)
    ]
)


@given(persons, st.integers(1, 4))
def test_a_limit_hides_nothing_that_governs(results: list[StoredResult], limit: int) -> None:
    """The returned results leave the same positives uncleared as all results do."""

    def uncleared(returned: list[StoredResult]) -> set[str]:
        counting = [result for result in returned if result.state == ACTIVE and may_report(result)]
        clearing = max((result.sample_time for result in counting if result.outcome == NEGATIVE), default=-1)
        return {
            result.report_number
            for result in counting
            if result.outcome in (POSITIVE, POOL_POSITIVE) and clearing <= result.sample_time
        }

    latest = pick_latest(results, PROVINCE, limit, may_report)
    returned = [*latest.in_region, *latest.out_of_region]
    assert uncleared(returned) == uncleared(results)
    for side, inside in ((latest.in_region, True), (latest.out_of_region, False)):
        on_side = [result for result in results if within(result.sample_region, PROVINCE) is inside]
        counting = [result for result in on_side if result.state == ACTIVE and may_report(result)]
        assert set(counting[:limit]) <= set(side)
        assert len(side) >= min(limit, len(on_side))
        assert sorted(side, key=lambda result: -result.reference_time) == list(side)


@given(persons, st.lists(st.sampled_from("ab"), min_size=14, max_size=14), st.integers(1, 4))
def test_items_do_not_touch_each_other(results: list[StoredResult], items: list[str], limit: int) -> None:
    """A mixed history returns of each item what a history of that item alone returns."""
    mixed = [result._replace(item=item) for result, item in zip(results, items, strict=False)]
    latest = pick_latest(mixed, PROVINCE, limit, may_report)
    for item in "ab":
        alone = pick_latest([result for result in mixed if result.item == item], PROVINCE, limit, may_report)
        for side, side_alone in zip(latest, alone, strict=True):
            assert [result for result in side if result.item == item] == side_alone


@given(persons, st.integers(1, 4))
def test_a_limit_hides_no_negative_that_counts_longest(results: list[StoredResult], limit: int) -> None:
    """One negative counts longest by its report time, and perhaps another one by its sample time. Both are returned.

    Recalled reports and those of a revoked laboratory hide no negative.
    """
    latest = pick_latest(results, PROVINCE, limit, may_report)
    returned = [*latest.in_region, *latest.out_of_region]

    def longest(some: list[StoredResult]) -> tuple[int, int]:
        usable = [one for one in some if one.outcome == NEGATIVE and one.state == ACTIVE and may_report(one)]
        return max((one.reference_time for one in usable), default=-1), max(
            (one.sample_time for one in usable), default=-1
        )

    assert longest(returned) == longest(results)


def test_a_revoked_laboratory_clears_no_positive() -> None:
    """The negative of such a laboratory may be left out. The positive that it seems to clear is returned."""
    newer = [stored(number, PENDING) for number in range(12, 3, -1)]
    results = [stored(20, sampled=900, lab=REVOKED), *newer, stored(1, POSITIVE)]
    assert pick_latest(results, PROVINCE, 1, may_report).in_region[-1].outcome == POSITIVE
