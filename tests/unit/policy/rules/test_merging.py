"""Both nodes come to the same revisions if they know a revision differently, in whatever order they exchange it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from services.policy.model import Revision
from services.policy.rules.merging import is_floor_of_outside, merge_from_above, merge_from_below
from tests.support.policy.factories import make_revision

CITY = "410100"
CONTENTS = {"a": False, "b": False, "f": True, "g": True}
"""Content hashes, and whether the content is that of a floor."""


@st.composite
def revisions(draw: st.DrawFn) -> Revision:
    """Return one of the states in which a node may have a revision of the city."""
    content = draw(st.sampled_from(sorted(CONTENTS)))
    made = make_revision(
        CITY,
        floor=CONTENTS[content],
        published=draw(st.integers(1, 2)),
        withdrawn=draw(st.sampled_from([None, 3, 4])),
    )
    return replace(made, content_hash=content, node=draw(st.sampled_from([None, "000000", CITY, "410105"])))


def exchange(above: Revision | None, city: Revision | None, up_first: bool) -> tuple[Revision | None, Revision | None]:
    """Exchange a revision in both directions until nothing changes."""
    for is_up in (up_first, not up_first) * 3:
        if is_up and city is not None:
            above = merge_from_below(above, city, CITY) or above
        elif not is_up and above is not None:
            city = merge_from_above(city, above, CITY) or city
    return above, city


@given(st.none() | revisions(), st.none() | revisions(), st.booleans())
def test_both_nodes_come_to_the_same(above: Revision | None, city: Revision | None, up_first: bool) -> None:
    """The nodes begin in any states. A city has a floor of a node above only as a copy of what that node has."""
    if city is not None and is_floor_of_outside(city, CITY):
        assume(above in (city, replace(city, withdraw_time=3)))
    there, here = exchange(above, city, up_first)
    assert there == here
    if above is None and city is not None:
        assert there == city


@given(revisions(), revisions(), st.booleans())
def test_the_city_has_the_last_word_about_its_own(above: Revision, city: Revision, up_first: bool) -> None:
    """Except where a node above has published a floor. A withdrawal is never taken back."""
    assume(not is_floor_of_outside(city, CITY))
    there, _ = exchange(above, city, up_first)
    assert there is not None
    if is_floor_of_outside(above, CITY):
        assert (there.content_hash, there.withdraw_time) == (above.content_hash, above.withdraw_time)
    else:
        assert there.content_hash == city.content_hash
        assert city.withdraw_time is None or there.withdraw_time is not None


@given(revisions(), st.sampled_from(["000000", "410000", "410200", "220000"]))
def test_a_node_states_nothing_of_other_regions(sent: Revision, region: str) -> None:
    """A node may state nothing of regions beside it or above it, whether the revision is known or not."""
    foreign = replace(sent, region=region)
    assert merge_from_below(None, foreign, CITY) is None
    assert merge_from_below(foreign, foreign, CITY) is None


@given(revisions(), st.sampled_from(["000000", "410000", "220000"]))
def test_a_floor_from_above_is_not_the_citys_to_change(sent: Revision, node: str) -> None:
    """The city can only repeat it."""
    floor = replace(make_revision(CITY, floor=True, published=1), content_hash="f", node=node)
    assert merge_from_below(floor, sent, CITY) in (None, floor)
    assert merge_from_below(floor, floor, CITY) == floor
    assert merge_from_below(None, floor, CITY) is None


def test_of_equal_publications_the_earlier_stands_with_its_caller() -> None:
    """A restored node that published the same again has the same as before."""
    first = replace(make_revision(CITY, published=1, withdrawn=5), content_hash="a", node=CITY, actor="authorities/1")
    again = replace(first, publish_time=2, withdraw_time=None, actor=None)
    assert merge_from_below(first, again, CITY) == first
    assert merge_from_above(again, first, CITY) == replace(first, actor=None)
