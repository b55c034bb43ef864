"""What a bench says: a rate, the limit it is held against, and their ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

ROUNDS = 3
"""Rounds in which a rate and its limit are taken in turns, so that noise falls on both; the median counts."""
TURN_SECONDS = 1.0
"""How long a rate of calls and its limit are taken before the other has its turn: machines change their pace after some
seconds, and a turn of five would have one pace alone."""


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


def in_turns(seconds: float, rate: Callable[[float], float], limit: Callable[[float], float]) -> tuple[float, float]:
    """A rate and its limit, each taken for ROUNDS times `seconds` in all, in turns; the median of each counts."""
    turns = range(max(ROUNDS, round(ROUNDS * seconds / TURN_SECONDS)))
    columns = zip(*((rate(TURN_SECONDS), limit(TURN_SECONDS)) for _ in turns), strict=True)
    usual, usual_limit = map(median, columns)
    return usual, usual_limit


def usual_p99(turns: Iterable[list[float]]) -> float:
    """The median of the turns' own: one stall of the machine is in one turn."""
    return median(map(p99, turns))


def p99(taken: list[float]) -> float:
    """The nearest rank."""
    return sorted(taken)[len(taken) * 99 // 100]
