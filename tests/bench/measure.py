"""What a bench says: a rate, the limit it is held against, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table. `must` is the least ratio asked for, where one is."""

    what: str
    rate: float
    limit: str
    limit_rate: float
    unit: str
    must: float | None = None

    @property
    def ratio(self) -> float:
        """The rate as a share of the limit's."""
        return self.rate / self.limit_rate
