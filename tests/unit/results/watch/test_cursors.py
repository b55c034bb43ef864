"""Cursors as callers hold them."""

from __future__ import annotations

import base64
import contextlib
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.results.changelog.model import Position
from services.results.watch.cursors import decode_cursor, encode_cursor

places = st.builds(Position, st.integers(0, 2**63 - 1), st.integers(0, 20_000))
cursors = st.dictionaries(st.integers(1, 2**31 - 1), places, max_size=20)


@given(cursors)
def test_a_cursor_comes_back_as_it_went(cursor: dict[int, Position]) -> None:
    """The cursor may have any number of writers. Its text fits into a URL."""
    text = encode_cursor(cursor)
    assert text.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(text) == cursor


def test_a_cursor_of_very_many_writers_fits_its_field() -> None:
    """The contract bounds it at 65,536 characters."""
    assert len(encode_cursor({writer: Position(10**9 + writer * 7919) for writer in range(1, 4000)})) < 65_536


def pack(value: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(orjson.dumps(value))).decode()


NOT_CURSORS = [
    "x",
    "é",
    "=",
    "AAAA",
    encode_cursor({1: Position(5)})[:-4],
    base64.urlsafe_b64encode(b"[[1,2,3]]").decode(),
    base64.urlsafe_b64encode(zlib.compress(b" " * (2 << 20))).decode(),
    *map(
        pack,
        [
            None,
            7,
            "abc",
            {"a": 1},
            [1],
            [[1, 2]],
            [[1, 2, 3, 4]],
            [["1", 2, 3]],
            [[1.0, 2, 3]],
            [[True, 2, 3]],
            [[1, None, 3]],
            [[-1, 2, 3]],
            [[1, -2, 3]],
            [[2**31, 2, 3]],
            [[1, 2**63, 3]],
            [{}],
            [[[1], [2], [3]]],
        ],
    ),
]


@pytest.mark.parametrize("text", NOT_CURSORS, ids=range(len(NOT_CURSORS)))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Whatever it is: never an error of the database's or of ours."""
    with pytest.raises(InvalidArgument) as caught:
        decode_cursor(text)
    assert caught.value.violations[0].field == "cursor"


@given(
    st.text(min_size=1, max_size=80)
    | st.binary(min_size=1, max_size=60).map(lambda raw: base64.b64encode(raw).decode())
)
def test_no_text_breaks_the_reader(text: str) -> None:
    """Every text is a cursor or is refused."""
    with contextlib.suppress(InvalidArgument):
        decode_cursor(text)
