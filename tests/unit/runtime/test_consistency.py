"""Consistency tokens: opaque, exact, and refused when they are not ours."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.runtime.consistency import MAX_CLOCK_SKEW, Freshness, decode_token, encode_token

freshnesses = st.builds(
    Freshness,
    st.sampled_from(["results", "policy", "verification"]),
    st.integers(0, 999_999).map(lambda region: f"{region:06}"),
    st.integers(0, 10**18 - 1),
)


@given(freshnesses)
def test_a_token_brings_back_what_it_stands_for(freshness: Freshness) -> None:
    """To the microsecond; and it fits a URL."""
    token = encode_token(freshness)
    assert decode_token(token, freshness.instant) == freshness
    assert token.replace("-", "").replace("_", "").isalnum()


def test_no_token_asks_for_nothing() -> None:
    """The field may be left empty."""
    assert decode_token("", 0) is None


@pytest.mark.parametrize(
    "text",
    [
        "1/results/410000",
        "1/sewage/410000/1",
        "2/results/410000/1",
        "1/results/41/1",
        "1/results/410000/-1",
        f"1/results/410000/{10**18}",
    ],
)
def test_what_only_looks_like_a_token_is_refused(text: str) -> None:
    """Another version, a region too short, an instant that no database could hold."""
    token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    with pytest.raises(InvalidArgument) as caught:
        decode_token(token, 10**18, "query.at_least_as_fresh")
    assert caught.value.reason == "INVALID_CONSISTENCY_TOKEN"
    assert caught.value.metadata == {"field": "query.at_least_as_fresh"}


@given(st.text(min_size=1, max_size=60))
def test_anything_else_is_refused(text: str) -> None:
    """Whatever a caller sends, it is INVALID_CONSISTENCY_TOKEN and nothing worse."""
    with pytest.raises(InvalidArgument):
        decode_token(text, 0)


def test_a_token_of_a_time_to_come_is_not_ours() -> None:
    """No call waits for a commit from a time that no node's clock can have reached."""
    token = encode_token(Freshness("policy", "000000", 1_000 + MAX_CLOCK_SKEW))
    assert decode_token(token, 1_000) is not None
    with pytest.raises(InvalidArgument):
        decode_token(token, 999)
