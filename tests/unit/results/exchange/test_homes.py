"""The home of a laboratory: which node may speak for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.domain.region import NATION, ancestry, within
from services.results.exchange.homes.find import Home, deepest_node, find_home
from tests.support.results.factories import CENTRAL_USCC, OTHER_USCC, USCC

regions = st.sampled_from(["220000", "220500", "220501", "410000", "410100", "410105", "370000", "110000", "100000"])
trees = st.frozensets(regions)
codes = st.sampled_from([USCC, OTHER_USCC, CENTRAL_USCC])
recorded = st.none() | st.sampled_from([NATION, "220501", "410105", "650000"])


def test_the_code_names_the_home() -> None:
    assert find_home(USCC, {"220000", "410000"}, None, ()) == Home("220000", is_firm=True)
    assert find_home(USCC, {"220000", "220500", "410000"}, None, {"410000"}) == Home("220500", is_firm=True)
    assert find_home(USCC, {"220000", "410000"}, "410105", {"220000"}) == Home("410000", is_firm=True)
    assert find_home(USCC, {"410000"}, "220501", {"410000"}) == Home(NATION, is_firm=True)
    assert find_home(CENTRAL_USCC, {"220000", "410000"}, None, {"410000"}) == Home("410000", is_firm=False)
    assert find_home(CENTRAL_USCC, {"220000", "410000"}, None, {"410000", "220000"}) == Home("", is_firm=False)


@given(codes, trees, recorded, trees)
def test_a_firm_home_does_not_depend_on_who_registered(
    uscc: str, nodes: frozenset[str], region: str | None, registrants: frozenset[str]
) -> None:
    home = find_home(uscc, nodes, region, registrants)
    if home.is_firm:
        assert find_home(uscc, nodes, region, ()) == home
        assert home.node in (*nodes, NATION)
    else:
        assert home.node == (next(iter(registrants)) if len(registrants) == 1 else "")


@given(codes, trees, recorded, regions)
def test_a_node_that_joins_takes_only_laboratories_of_its_region(
    uscc: str, nodes: frozenset[str], region: str | None, joined: str
) -> None:
    before, after = find_home(uscc, nodes, region, ()), find_home(uscc, nodes | {joined}, region, ())
    if after != before:
        assert after == Home(joined, is_firm=True)
        assert within(uscc[2:8] if region is None else region, joined)


@given(regions, trees)
def test_no_node_below_the_deepest_contains_the_region(region: str, nodes: frozenset[str]) -> None:
    found = deepest_node(region, nodes)
    containing = {node for node in nodes if within(region, node)}
    assert found == max(containing, key=lambda node: len(ancestry(node)), default="")
