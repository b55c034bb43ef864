"""Cursors as callers hold them, and the order in which entries are told."""

from __future__ import annotations

import base64
import contextlib
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidArgument
from services.results.changes import Entry, Place, _cut, _in_writers_order, decode_cursor, encode_cursor

places = st.builds(Place, st.integers(0, 2**63 - 1), st.integers(0, 20_000))
cursors = st.dictionaries(st.integers(1, 2**31 - 1), places, max_size=20)


@given(cursors)
def test_a_cursor_comes_back_as_it_went(cursor: dict[int, Place]) -> None:
    """Of any number of writers, in text that a URL bears."""
    text = encode_cursor(cursor)
    assert text.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(text) == cursor


def test_a_cursor_of_very_many_writers_fits_its_field() -> None:
    """The contract bounds it at 65,536 characters."""
    assert len(encode_cursor({writer: Place(10**9 + writer * 7919) for writer in range(1, 4000)})) < 65_536


def pack(value: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(orjson.dumps(value))).decode()


NOT_CURSORS = [
    "x",
    "é",
    "=",
    "AAAA",
    encode_cursor({1: Place(5)})[:-4],
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
    """It is a cursor or it is refused."""
    with contextlib.suppress(InvalidArgument):
        decode_cursor(text)


def entries_of(drawn: list[tuple[int, int, int]]) -> list[Entry]:
    """Entries of writers with sequences of their own and any times."""
    counts: dict[int, int] = {}
    entries = []
    for writer, time, size in drawn:
        counts[writer] = counts.get(writer, 0) + 1
        entries.append(Entry(writer, counts[writer], time, "lab", [("R", 1)] * size))
    return entries


drawn_entries = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(1, 3_000))).map(entries_of)


@given(drawn_entries)
def test_entries_are_told_by_time_but_always_in_their_writers_order(entries: list[Entry]) -> None:
    """Where clocks run forward that is the order of time."""
    by_time = sorted(entries, key=lambda entry: (entry.commit_time, entry.writer_id, entry.sequence))
    told = _in_writers_order(by_time)
    assert sorted(map(id, told)) == sorted(map(id, entries))
    for writer in range(1, 5):
        sequences = [entry.sequence for entry in told if entry.writer_id == writer]
        assert sequences == sorted(sequences)
    forward = all(
        before.commit_time <= after.commit_time
        for before in entries
        for after in entries
        if before.writer_id == after.writer_id and before.sequence < after.sequence
    )
    if forward:
        assert told == by_time


@given(drawn_entries)
def test_a_cut_keeps_a_beginning_of_at_least_one_entry(entries: list[Entry]) -> None:
    """And no more results than a watcher takes at once, unless the first entry alone has."""
    cut = _cut(entries)
    assert cut == entries[: len(cut)]
    assert bool(cut) == bool(entries)
    assert len(cut) <= 1 or sum(len(entry.reports) for entry in cut) <= 5_000
