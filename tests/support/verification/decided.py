"""Reads counts of decisions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from services.domain.instant import Instant
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.decision_counts.store import OUTCOME_COLUMNS, count_conditions
from services.verification.decision_counts.tables import decision_counts


def sum_decided(connection: Connection, column: str, start: Instant, end: Instant, region: str = "") -> dict[Any, Any]:
    """Return the decisions about a region in whole hours, by the values of a column."""
    by = decision_counts.c[column]
    sums = [func.sum(decision_counts.c[name]) for name in OUTCOME_COLUMNS]
    query = select(by, *sums).where(*count_conditions(region, start, end)).group_by(by)
    return {value: OutcomeCounts(*map(int, counts)) for value, *counts in connection.execute(query)}
