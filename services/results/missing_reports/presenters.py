"""Limits how many missing reports one presenter raises, so that made-up reports do not fill a laboratory's list."""

from __future__ import annotations

from collections import Counter, OrderedDict

import structlog

from services.domain.instant import Instant, shanghai_day
from services.domain.names import format_lab
from services.runtime.call import name_of_presenter

OF_ONE_LAB = 30
"""The most reports of one laboratory that a presenter shows in a day. A list keeps reports for 30 days by default, so
one presenter alone can fill less than a list's 1,000 reports."""
OF_ALL_LABS = 500
"""The most reports of all laboratories together that a presenter shows in a day."""
MAX_COUNTS = 100_000
"""The most counts that are kept, one for each presenter and laboratory: some 50 MB. Beyond this number the counts of
the presenters seen longest ago are forgotten."""

_log = structlog.get_logger(__name__)


class PresenterLimit:
    """Counts the reports that each presenter (`presenter_of`) has shown since midnight in Shanghai, in memory."""

    def __init__(
        self, of_one_lab: int = OF_ONE_LAB, of_all_labs: int = OF_ALL_LABS, max_counts: int = MAX_COUNTS
    ) -> None:
        self._of_one_lab = of_one_lab
        self._of_all_labs = of_all_labs
        self._max_counts = max_counts
        self._day = 0
        self._counts = 0
        self._shown: OrderedDict[str, Counter[str]] = OrderedDict()
        self._warned: set[str] = set()

    def admits(self, presenter: str, lab: str, now: Instant) -> bool:
        """Count a report of a laboratory. Return False if the presenter has shown too many reports.

        The log then names the caller, once a day. An empty `presenter` has no limit.
        """
        if not presenter:
            return True
        if (day := shanghai_day(now)) != self._day:
            self._day = day
            self._counts = 0
            self._shown.clear()
            self._warned.clear()
        shown = self._shown.setdefault(presenter, Counter())
        self._shown.move_to_end(presenter)
        if shown[lab] >= self._of_one_lab or shown.total() >= self._of_all_labs:
            self._warn(name_of_presenter(presenter), lab)
            return False
        self._counts += lab not in shown
        shown[lab] += 1
        while self._counts > self._max_counts:
            _, forgotten = self._shown.popitem(last=False)
            self._counts -= len(forgotten)
        return True

    def _warn(self, caller: str, lab: str) -> None:
        if caller not in self._warned:
            self._warned.add(caller)
            _log.warning("caller shows very many reports without a record", caller=caller, lab=format_lab(lab))
