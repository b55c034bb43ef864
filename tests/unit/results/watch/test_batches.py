"""Slices of a commit: for any size and any cursor within it, each report is sent once and in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.results.changelog.model import Entry, Position
from services.results.watch.batches import ChangeSlice

SEQUENCE = 7


def part_of(count: int, start: int = 0) -> ChangeSlice:
    """A commit of so many reports, from one of them on."""
    reports = [(f"R{index}", 1) for index in range(count)]
    return ChangeSlice(Entry(1, SEQUENCE, 0, "lab", reports), start, [None] * (count - start))


@given(st.integers(1, 30), st.lists(st.integers(1, 9), min_size=30, max_size=30))
def test_any_cuts_tell_every_report_once(count: int, sizes: list[int]) -> None:
    """The cursor goes from each piece's end to the next, and beyond the commit at last."""
    place = Position(SEQUENCE - 1)
    told: list[int] = []
    for size in sizes:
        rest = part_of(count).after({1: place})
        if rest is None:
            break
        piece = rest.up_to(size)
        told += range(piece.start, piece.end)
        place = piece.position
    assert told == list(range(count))
    assert place == Position(SEQUENCE)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 8))
def test_what_a_cursor_has_processed_is_left_out(count: int, processed: int, start: int) -> None:
    """Nothing is added before the beginning of a slice that begins later."""
    start = min(start, count - 1)
    rest = part_of(count, start).after({1: Position(SEQUENCE - 1, processed)})
    if processed >= count:
        assert rest is None
    else:
        assert rest is not None
        assert (rest.start, rest.end) == (max(start, processed), count)
    for beyond in (Position(SEQUENCE), Position(SEQUENCE, 2), Position(SEQUENCE + 4)):
        assert part_of(count, start).after({1: beyond}) is None
