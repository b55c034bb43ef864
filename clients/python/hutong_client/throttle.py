"""Holds back calls that an overloaded service would refuse.

A refusal costs a service about a quarter of what an answer costs. If callers send ten times as much as the service can
answer, refusals take most of its time. So a client that was refused ends a part of its further calls itself, with the
error of the last refusal (Site Reliability Engineering, O'Reilly 2016, chapter 21, "client-side throttling").
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

from hutong_client.errors import HutongError, ResourceExhausted
from hutong_client.errors.reasons import Overloaded

SENT_FOR_EACH_ANSWER = 2.0
"""How many calls are sent for each answered call. With fewer calls a client would notice later that the overload is
over. With more calls the service would spend more time on refusals."""
MOST_HELD = 0.9
"""The greatest share of calls that is held back, so that a client with few calls notices the end of an overload."""
HALF_SECONDS = 1.0
"""The time after which a call counts half. So all calls are sent again some seconds after an overload."""


class Throttle:
    """Decides which calls of one method are sent, by the ends of earlier calls. Calls may end in any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random) -> None:
        """`now` is a clock in seconds, and `chance` returns random numbers from 0 to 1."""
        self._now = now
        self._chance = chance
        self._time = now()
        self._all = 0.0
        self._answered = 0.0

    def holds(self) -> bool:
        """Return whether the next call is held back. A call that is held back is not sent, and counts as refused."""
        self._age()
        share = (self._all - SENT_FOR_EACH_ANSWER * self._answered) / (self._all + 1)
        if self._chance() >= min(share, MOST_HELD):
            return False
        self._all += 1
        return True

    def note(self, *, is_refused: bool) -> None:
        """Count the end of a call that was sent."""
        self._age()
        self._all += 1
        self._answered += not is_refused

    def _age(self) -> None:
        now = self._now()
        weight = 0.5 ** ((now - self._time) / HALF_SECONDS)
        self._time, self._all, self._answered = now, self._all * weight, self._answered * weight


class Refusals:
    """The refusals of one method because of the service's load.

    Other errors, and budgets of the caller, hold no calls back.
    """

    def __init__(self) -> None:
        self._throttle = Throttle()
        self._last: HutongError | None = None

    def of_next(self, request_id: str) -> HutongError | None:
        """Return the error with which the next call ends without being sent; None if it is sent."""
        if self._last is None or not self._throttle.holds():
            return None
        last = self._last
        return type(last)(last.message, replace(last.details, request_id=request_id))

    def note(self, error: HutongError | None) -> None:
        """Note the end of a call that was sent, with its error."""
        is_refused = isinstance(error, Overloaded) and isinstance(error, ResourceExhausted)
        if is_refused:
            self._last = error
        self._throttle.note(is_refused=is_refused)


class CallEnd:
    """The end of one call, which counts once, however often the response of the call is read."""

    def __init__(self, refusals: Refusals | None) -> None:
        """Without `refusals` the end is not counted."""
        self._refusals = refusals

    def note(self, error: HutongError | None) -> None:
        """Note the end, with the error of the call."""
        refusals, self._refusals = self._refusals, None
        if refusals is not None:
            refusals.note(error)
