"""New results in columns. The rows that are made from the columns equal the original rows."""

from __future__ import annotations

import pickle

import pytest

from services.domain.subject import Pepper
from services.results.records.model import NewResult
from services.results.records.new_results import NewResults, columns_of
from tests.support.results.factories import PEPPER, make_tube, validate_batch

ENGINES = ("postgresql", "sqlite")


def results_of(dialect: str, pepper: Pepper = PEPPER, *, twice: bool = False) -> list[NewResult]:
    """Return results whose numbers are not in order.

    Some results are of a pool, and one has a sample site that COPY must escape.
    """
    tubes = [make_tube(30, site="C:\\采样点"), make_tube(20, 5), make_tube(4), *([make_tube(30)] if twice else [])]
    return list(validate_batch(tubes, dialect=dialect, pepper=pepper).results)


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize(
    "pepper", [PEPPER, Pepper(PEPPER.secret, 1, Pepper(b"o" * 32, 2))], ids=["one key", "two keys"]
)
@pytest.mark.parametrize("twice", [False, True])
def test_rows_come_back_from_columns(dialect: str, pepper: Pepper, twice: bool) -> None:
    rows = results_of(dialect, pepper, twice=twice)
    sent: NewResults = pickle.loads(pickle.dumps(NewResults.join(dialect, rows)))
    assert list(sent) == rows
    assert sent[2] == rows[2]
    assert len(sent) == len(rows)
    assert sent.are_distinct is not twice
    assert columns_of(sent) == columns_of(rows)


@pytest.mark.parametrize("dialect", ENGINES)
def test_no_results_are_no_rows(dialect: str) -> None:
    sent = NewResults.join(dialect, [])
    assert list(sent) == []
    assert not sent
    assert columns_of(sent) == columns_of([])


def test_joined_keys_are_in_the_order_of_their_numbers() -> None:
    rows = results_of("postgresql")
    joined = NewResults.join("postgresql", rows)
    assert joined.keys.decode() == "".join(row.key_row for row in sorted(rows, key=lambda row: row.report_number))


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize("first", [9, 15])
def test_merged_batches_are_as_one_batch(dialect: str, first: int) -> None:
    """The keys are in the order of their numbers, also if the numbers of two batches overlap."""
    two_keys = Pepper(PEPPER.secret, 1, Pepper(b"o" * 32, 2))
    parts = [
        list(validate_batch([make_tube(30), make_tube(10, 5)], dialect=dialect, pepper=two_keys).results),
        list(validate_batch([make_tube(first, 3), make_tube(5)], dialect=dialect).results),
        list(validate_batch([make_tube(60)], dialect=dialect).results),
    ]
    merged = NewResults.merge([NewResults.join(dialect, part) for part in parts])
    whole = [row for part in parts for row in part]
    assert list(merged) == whole
    assert merged.keys == NewResults.join(dialect, whole).keys
    assert merged.are_distinct is (first == 15)


def test_numbers_that_ascend_from_batch_to_batch_are_merged_in_order() -> None:
    parts = [NewResults.join("postgresql", results_of("postgresql"))]
    parts.append(NewResults.join("postgresql", list(validate_batch([make_tube(5000)], dialect="postgresql").results)))
    assert NewResults.merge(parts).keys == parts[0].keys + parts[1].keys
