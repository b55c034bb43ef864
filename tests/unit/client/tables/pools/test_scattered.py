"""Rows of one tube that stand apart are never taken for tubes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.open import open_table
from hutong_client.tables.pools.scattered import ScatteredCodes
from hutong_client.tables.tubes import BadRow, Reading, ReadTube, read_tubes

from tests.support.client.laboratory_formats import TITLES, csv, person


def read(path: Path) -> tuple[dict[str, int], list[int]]:
    """Return the sizes of a file's tubes and the numbers of its bad rows."""
    with open_table(path) as table:
        scattered = ScatteredCodes(lambda: open_table(path))
        items = list(read_tubes(table, Reading(SHANGHAI, "220502"), scattered))
    sizes = {item.tube.tube_code: item.tube.pool_size for item in items if isinstance(item, ReadTube)}
    return sizes, [item.row.number for item in items if isinstance(item, BadRow)]


@pytest.mark.parametrize(
    ("codes", "size", "sizes", "bad"),
    [
        (["S1", "S2", "S1"], "", {"S2": 1}, [2, 4]),
        (["S1", "S2", "S1"], "混采", {}, [2, 3, 4]),
        (["S1", "S2", "S1"], "10", {"S1": 10, "S2": 10}, []),
        (["S1", "S1", "S2"], "", {"S1": 2, "S2": 1}, []),
        (["S1", "S2", "S3"], "", {"S1": 1, "S2": 1, "S3": 1}, []),
    ],
)
def test_rows_apart_need_a_size(
    tmp_path: Path, codes: Sequence[str], size: str, sizes: dict[str, int], bad: list[int]
) -> None:
    """The number of such rows is not the size of the tube.

    Stated sizes are used, and rows of a tube in one place are counted.
    """
    path = csv([TITLES, *(person(number, code, size) for number, code in enumerate(codes))])(tmp_path)
    assert read(path) == (sizes, bad)


def test_a_report_that_stands_twice_is_one_person(tmp_path: Path) -> None:
    """An export may overlap the one before it. The service finds the duplicate."""
    path = csv([TITLES, person(1, "S1", ""), person(2, "S2", ""), person(1, "S1", "")])(tmp_path)
    assert read(path) == ({"S1": 1, "S2": 1}, [])


def test_a_file_with_sizes_is_read_once(tmp_path: Path) -> None:
    """The second reading costs time, so it begins only if a size has to be counted."""
    path = csv([TITLES, person(1, "S1", 10), person(2, "S2", "10:1"), person(3, "S1", 10)])(tmp_path)
    with open_table(path) as table:
        assert len(list(read_tubes(table, Reading(SHANGHAI, "220502"), ScatteredCodes(pytest.fail)))) == 3
