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
MAX_TELLERS = 100_000
"""The most callers that are counted. Beyond this number the counts of those seen longest ago are forgotten. For an
application each of its users counts as a caller."""

_log = structlog.get_logger(__name__)


class TellerLimit:
    """Counts the reports that each caller has shown since midnight in Shanghai. The counts are in memory."""

    def __init__(self, of_one_lab: int = OF_ONE_LAB, of_all_labs: int = OF_ALL_LABS) -> None:
        self._of_one_lab = of_one_lab
        self._of_all_labs = of_all_labs
        self._day = 0
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
            self._told.clear()
            self._warned.clear()
        counts = self._told.setdefault(teller, Counter())
        self._told.move_to_end(teller)
        if len(self._told) > MAX_TELLERS:
            self._told.popitem(last=False)
        if counts[lab] < self._of_one_lab and counts.total() < self._of_all_labs:
            counts[lab] += 1
            return True
        if (name := name_of_teller(teller)) not in self._warned:
            self._warned.add(name)
            _log.warning("caller shows very many reports without a record", caller=name, lab=format_lab(lab))
        return False
