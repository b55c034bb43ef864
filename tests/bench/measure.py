"""The measurements of a bench: a rate, the limit it is compared with, and their ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import psutil

ROUNDS = 3
"""Rounds in which a rate and its limit are measured alternately, so that noise affects both. The median counts."""
TURN_SECONDS = 1.0
"""How long a rate of calls is measured before its limit is, and the other way round. Machines change their speed after
some seconds, so a turn of five seconds would see a single speed."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table. `must` is the least ratio that passes; None if the ratio is not checked."""

    what: str
    rate: float
    limit: str
    limit_rate: float
    unit: str
    must: float | None = None

    @property
    def ratio(self) -> float:
        """The rate divided by the limit's rate."""
        return self.rate / self.limit_rate


def family_of(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all of its descendants."""
    return [process, *process.children(recursive=True)]


def in_turns(seconds: float, rate: Callable[[float], float], limit: Callable[[float], float]) -> tuple[float, float]:
    """Measure a rate and its limit alternately, each for ROUNDS times `seconds` in all. Return the median of each."""
    turns = range(max(ROUNDS, round(ROUNDS * seconds / TURN_SECONDS)))
    columns = zip(*((rate(TURN_SECONDS), limit(TURN_SECONDS)) for _ in turns), strict=True)
    usual, usual_limit = map(median, columns)
    return usual, usual_limit


def usual_p99(turns: Iterable[list[float]]) -> float:
    """Return the median of the turns' 99th percentiles, so that one stall of the machine affects one turn only."""
    return median(map(p99, turns))


def p99(taken: list[float]) -> float:
    """Return the 99th percentile by the nearest-rank method."""
    return sorted(taken)[len(taken) * 99 // 100]
