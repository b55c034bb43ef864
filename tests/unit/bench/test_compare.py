"""How figures of two commits are compared."""

from __future__ import annotations

from tests.bench.compare import Figures, compare, order


def row(what: str, rate: float, limit: float = 100.0) -> dict[str, object]:
    """Return a measurement as it is stored."""
    return {"what": what, "unit": "calls/s", "rate": rate, "ratio": rate / limit}


def test_medians_of_all_rounds_are_compared() -> None:
    first = [[row("Verify", 10)], [row("Verify", 50)], [row("Verify", 20)]]
    second = [[row("Verify", 30)], [row("Verify", 29)], [row("Verify", 90)]]
    (compared,) = compare(first, second)
    assert compared.first == Figures([10, 50, 20], [0.1, 0.5, 0.2])
    assert compared.change == 1.5


def test_a_row_of_one_commit_alone_has_no_change() -> None:
    compared = compare([[row("old", 1), row("both", 2)]], [[row("both", 4), row("new", 3)]])
    assert [(one.what, one.change) for one in compared] == [("old", None), ("both", 2.0), ("new", None)]


def test_the_commits_take_turns_and_alternate_who_begins() -> None:
    assert order(3) == [True, False, False, True, True, False]
