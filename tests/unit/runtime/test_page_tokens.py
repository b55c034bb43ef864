"""Page tokens: what went in comes out, for the request they were issued for and no other."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.message import Message
from hutong.results.v1.lab_service_pb2 import ListLabsRequest
from hutong.results.v1.results_service_pb2 import ListResultsRequest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.runtime.page_tokens import PageTokens, page_size, rows_to_read

TOKENS = PageTokens([b"s" * 32])
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
positions = st.lists(texts | st.integers(-(2**63), 2**63 - 1), max_size=4)


def shape_of(position: list[str | int]) -> list[type]:
    """The types of a position."""
    return [type(value) for value in position]


def refused(request: Message, shape: Sequence[type] = (str,), tokens: PageTokens = TOKENS) -> bool:
    """Whether the token of a request is refused for what it is."""
    with pytest.raises(InvalidArgument) as caught:
        tokens.position(request, shape)
    return caught.value.reason == "INVALID_PAGE_TOKEN" and caught.value.violations[0].field == "page_token"


@given(positions, st.integers(0, 500))
def test_a_token_brings_back_its_position(position: list[str | int], size: int) -> None:
    """The position is the same also if the next page is asked for in another size."""
    token = TOKENS.issue(ListLabsRequest(region="410000", page_size=10), position)
    request = ListLabsRequest(region="410000", page_size=size, page_token=token)
    assert TOKENS.position(request, shape_of(position)) == position
    assert PageTokens([b"s" * 32]).position(request, shape_of(position)) == position


def test_the_first_page_has_no_token() -> None:
    """Empty means from the start."""
    assert TOKENS.position(ListLabsRequest(region="410000"), (str,)) is None


def test_a_token_of_another_request_is_refused() -> None:
    """A token for Henan does not page through Shandong."""
    token = TOKENS.issue(ListLabsRequest(region="410000"), ["x"])
    assert refused(ListLabsRequest(region="370000", page_token=token))


def test_a_token_of_another_kind_of_request_is_refused() -> None:
    """Though both are empty but for it."""
    assert refused(ListResultsRequest(page_token=TOKENS.issue(ListLabsRequest(), ["x"])))


def test_a_token_under_another_secret_is_refused() -> None:
    """A token cannot be made without the secret, and a token of an unkeyed service is no token of a keyed one."""
    for other in (PageTokens([b"t" * 32]), PageTokens()):
        assert refused(ListLabsRequest(page_token=other.issue(ListLabsRequest(), ["x"])))


def test_a_token_under_the_other_key_version_is_accepted() -> None:
    """While the key rotates, a page may come from another process than the page before it."""
    both = PageTokens([b"t" * 32, b"s" * 32])
    request = ListLabsRequest(page_token=TOKENS.issue(ListLabsRequest(), ["x"]))
    assert both.position(request, (str,)) == ["x"]
    assert refused(ListLabsRequest(page_token=both.issue(ListLabsRequest(), ["x"])))


@pytest.mark.parametrize(
    "position",
    [[], ["x", "y"], [1], [None], [True], [1.0], [["x"]], [{"x": 1}], ["x\0"], {"x": 1}, "x", None],
)
def test_a_position_of_another_shape_is_refused(position: Any) -> None:
    """Without a secret every caller can make tokens. No accepted token makes a statement fail."""
    unkeyed = PageTokens()
    assert refused(ListLabsRequest(page_token=unkeyed.issue(ListLabsRequest(), position)), tokens=unkeyed)


def test_a_number_beyond_a_databases_is_refused() -> None:
    """The limit is 64 bits with a sign."""
    for number in (2**63, -(2**63) - 1):
        unkeyed = PageTokens()
        token = base64.urlsafe_b64encode(unkeyed.mac(ListLabsRequest(), b"[%d]" % number) + b"[%d]" % number)
        assert refused(ListLabsRequest(page_token=token.decode().rstrip("=")), (int,), unkeyed)


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(text: str) -> None:
    """Whatever it is."""
    if text:
        assert refused(ListLabsRequest(page_token=text))


@given(positions, st.data())
def test_a_tampered_token_is_refused(position: list[str | int], data: st.DataObject) -> None:
    """A changed byte anywhere, in the position too, is noticed."""
    token = TOKENS.issue(ListLabsRequest(), position)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    changed = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert refused(ListLabsRequest(page_token=changed), shape_of(position))


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (-1, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_page_sizes(asked: int, given_: int) -> None:
    """50 when none is asked, never over 500."""
    assert page_size(asked) == given_


@given(st.integers(0, 60), st.integers(0, 20))
def test_pages_bring_every_row_once(rows: int, asked: int) -> None:
    """Rows come in order, until a page has no token. No page is empty, except the only one."""
    request, after, seen = ListLabsRequest(page_size=asked), 0, []
    while True:
        found = range(rows)[after : after + rows_to_read(request.page_size)]
        shown, token = TOKENS.page(request, found, lambda row: [row])
        seen += shown
        if not token:
            break
        assert shown
        request.page_token = token
        (last,) = TOKENS.position(request, (int,)) or ()
        after = last + 1
    assert seen == list(range(rows))
