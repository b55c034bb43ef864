"""Page tokens: what went in comes out, for the request they were issued for and no other."""

from __future__ import annotations

import base64

import pytest
from google.protobuf.message import Message
from hutong.results.v1.lab_service_pb2 import ListLabsRequest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.runtime.pages import decode_page_token, encode_page_token, page_size

positions = st.lists(st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=4)


def refused(request: Message) -> bool:
    """Whether the token of a request is refused for what it is."""
    with pytest.raises(InvalidArgument) as caught:
        decode_page_token(request)
    return caught.value.reason == "INVALID_PAGE_TOKEN" and caught.value.violations[0].field == "page_token"


@given(positions, st.integers(0, 500))
def test_a_token_brings_back_its_position(position: list[object], size: int) -> None:
    """Also when the next page is asked for in another size."""
    token = encode_page_token(ListLabsRequest(region="410000", page_size=10), position)
    assert decode_page_token(ListLabsRequest(region="410000", page_size=size, page_token=token)) == position


def test_the_first_page_has_no_token() -> None:
    """Empty means from the start."""
    assert decode_page_token(ListLabsRequest(region="410000")) is None


def test_a_token_of_another_request_is_refused() -> None:
    """A token for Henan does not page through Shandong."""
    token = encode_page_token(ListLabsRequest(region="410000"), ["x"])
    assert refused(ListLabsRequest(region="370000", page_token=token))


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(text: str) -> None:
    """Whatever it is."""
    if text:
        assert refused(ListLabsRequest(page_token=text))


@given(positions, st.data())
def test_a_tampered_token_is_refused(position: list[object], data: st.DataObject) -> None:
    """A changed byte anywhere, in the position too, is noticed."""
    token = encode_page_token(ListLabsRequest(), position)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert refused(ListLabsRequest(page_token=base64.urlsafe_b64encode(raw).decode().rstrip("=")))


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (-1, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_page_sizes(asked: int, given_: int) -> None:
    """50 when none is asked, never over 500."""
    assert page_size(asked) == given_
