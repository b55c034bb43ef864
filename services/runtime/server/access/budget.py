"""The limits of one caller, and the defaults by role."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one caller in one process, or in all workers of a group together. None means no limit.

    Attributes:
        persons_an_hour: distinct persons that the caller may ask about in an hour. It may ask `budgets.AGAIN` times as
            many questions about these persons again, in each process.
        misses_an_hour: answers in an hour about persons without any record. At a real gate most people have been
            tested, so misses are few.
        calls: unary calls under way.
        heavy_calls: unary calls under way that are batches or work on many rows.
        streams: open streams.
        units_a_second: work, in units of `budgets.UNITS`.
    """

    persons_an_hour: int | None = None
    misses_an_hour: int | None = None
    calls: int | None = None
    heavy_calls: int | None = None
    streams: int | None = None
    units_a_second: int | None = None


NO_LIMIT = Budget()
_USUAL = Budget(units_a_second=1_000)
DEFAULTS = {
    "gate": Budget(3_000, 600, 256, 4, 64, 1_000),
    # An app asks about its signed-in users only, but about many of them at once.
    "app": Budget(units_a_second=20_000),
    "lab": _USUAL,
    "authority": _USUAL,
    # With a case a supervisor may read about anybody. This system does not check whether the case exists.
    "supervisor": Budget(persons_an_hour=3_000, units_a_second=1_000),
    "operator": _USUAL,
}
"""The default budget of a caller, by its role. HUTONG_ACCESS_FILE may change it. Nodes and this node's Verification
have no budget, because they pass on the questions of other callers."""
