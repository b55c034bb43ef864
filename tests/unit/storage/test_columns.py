"""The condition for the rows of a region."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, MetaData, String, Table, create_engine, insert, select

from services.domain.region import NATION, within
from services.storage.columns import in_region

CODES = ("110000", "410000", "410100", "410105", "411000", "450000")


@pytest.mark.parametrize("region", ["", NATION, "410000", "410100", "410105", "990000"])
def test_rows_of_a_region_are_those_that_lie_in_it(region: str) -> None:
    """The nation, or no region, includes all rows, also those without a region."""
    rows = Table("rows", MetaData(), Column("region", String(6)))
    with create_engine("sqlite://").begin() as connection:
        rows.create(connection)
        connection.execute(insert(rows), [{"region": code} for code in (*CODES, "")])
        found = set(connection.execute(select(rows.c.region).where(in_region(rows.c.region, region))).scalars())
    everywhere = region in ("", NATION)
    assert found == {code for code in (*CODES, "") if everywhere or (code and within(code, region))}
