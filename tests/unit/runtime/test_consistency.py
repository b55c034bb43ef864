"""Consistency tokens: opaque, exact, and refused when they are not ours."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.runtime.consistency import CommitPosition, LogPosition, decode_token, encode_token

positions = st.builds(
    LogPosition,
    st.sampled_from(["", "0" * 32]) | st.uuids().map(str),
    st.integers(0, 10**9 - 1),
    st.integers(0, 10**18 - 1),
)
commits = st.builds(
    CommitPosition,
    st.sampled_from(["results", "policy", "verification"]),
    st.integers(0, 999_999).map(lambda region: f"{region:06}"),
    positions,
)


@given(commits)
def test_a_token_brings_back_what_it_stands_for(commit: CommitPosition) -> None:
    """The token fits into a URL, and into every field of the contract that takes it."""
    token = encode_token(commit)
    assert decode_token(token) == commit
    assert token.replace("-", "").replace("_", "").isalnum()
    assert len(token) < 256


def test_no_token_asks_for_nothing() -> None:
    """The field may be left empty."""
    assert decode_token("") is None


@pytest.mark.parametrize(
    "text",
    [
        "1/results/410000/1",
        "2/results/410000/a/1",
        "2/sewage/410000/a/1/1",
        "3/results/410000/a/1/1",
        "2/results/41/a/1/1",
        "2/results/410000/A/1/1",
        "2/results/410000/a/1/-1",
        f"2/results/410000/a/1/{10**18}",
    ],
)
def test_what_only_looks_like_a_token_is_refused(text: str) -> None:
    """Another version, a field too few, a region too short, a sequence that no database could hold."""
    token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    with pytest.raises(InvalidArgument) as caught:
        decode_token(token, "query.at_least_as_fresh")
    assert caught.value.reason == "INVALID_CONSISTENCY_TOKEN"
    assert caught.value.metadata == {"field": "query.at_least_as_fresh"}


@given(st.text(min_size=1, max_size=60))
def test_anything_else_is_refused(text: str) -> None:
    """Whatever a caller sends, it is INVALID_CONSISTENCY_TOKEN and nothing worse."""
    with pytest.raises(InvalidArgument):
        decode_token(text)
