"""Limits how many missing reports one caller raises, so that made-up reports do not fill a laboratory's list."""

from __future__ import annotations

from collections import Counter, OrderedDict

import structlog

from services.domain.instant import Instant, shanghai_day
from services.domain.names import format_lab
from services.runtime.call import name_of_teller

OF_ONE_LAB = 30
"""The most reports of one laboratory that a caller shows in a day. A list keeps reports for 30 days by default, so one
caller alone can fill less than a list's 1,000 reports."""
OF_ALL_LABS = 500
"""The most reports of all laboratories together that a caller shows in a day."""
MAX_COUNTS = 100_000
"""The most counts that are kept, one for each caller and laboratory: some 50 MB. Beyond this number the counts of the
callers seen longest ago are forgotten. For an application each of its users counts as a caller."""

_log = structlog.get_logger(__name__)


class TellerLimit:
    """Counts the reports that each caller has shown since midnight in Shanghai. The counts are in memory."""

    def __init__(
        self, of_one_lab: int = OF_ONE_LAB, of_all_labs: int = OF_ALL_LABS, max_counts: int = MAX_COUNTS
    ) -> None:
        self._of_one_lab = of_one_lab
        self._of_all_labs = of_all_labs
        self._max_counts = max_counts
        self._day = 0
        self._counts = 0
        self._told: OrderedDict[str, Counter[str]] = OrderedDict()
        self._warned: set[str] = set()

    def admits(self, teller: str, lab: str, now: Instant) -> bool:
        """Count a report of a laboratory. Return False if the caller has shown too many.

        The log names the caller, once a day. An empty `teller` has no limit.
        """
        if not teller:
            return True
        if (day := shanghai_day(now)) != self._day:
            self._day = day
            self._counts = 0
            self._told.clear()
            self._warned.clear()
        told = self._told.setdefault(teller, Counter())
        self._told.move_to_end(teller)
        if told[lab] >= self._of_one_lab or told.total() >= self._of_all_labs:
            self._warn(name_of_teller(teller), lab)
            return False
        self._counts += lab not in told
        told[lab] += 1
        while self._counts > self._max_counts:
            _, forgotten = self._told.popitem(last=False)
            self._counts -= len(forgotten)
        return True

    def _warn(self, caller: str, lab: str) -> None:
        if caller not in self._warned:
            self._warned.add(caller)
            _log.warning("caller shows very many reports without a record", caller=caller, lab=format_lab(lab))
