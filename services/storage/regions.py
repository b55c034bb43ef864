"""Conditions on columns with codes of regions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, true

from services.domain.region import prefix


def in_region(column: ColumnElement[Any], region: str) -> ColumnElement[bool]:
    """Return the condition that a column's region is this one or lies in it. The nation, or no region, includes all."""
    start = prefix(region)
    return column.startswith(start) if start else true()
