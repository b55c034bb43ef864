"""Waits between the tries of an interrupted upload or watch, and the time limit for new tries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from hutong_client.errors import HutongError

_FIRST_BACKOFF = 0.2
"""Seconds before the first retry. Each failure doubles the wait."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limit of retries after transient failures, with the clock that measures the time.

    Attributes:
        without_progress: the time without an acknowledgement of an upload, or without a message of a watch, after which
            the last failure is raised.
        sleep: waits a number of seconds.
        now: a monotonic clock in seconds.
        most_seconds: the most seconds between two tries, so that work continues soon after the service is available.
    """

    without_progress: timedelta = timedelta(minutes=5)
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    most_seconds: float = 10.0


class Tries:
    """Counter of failures since the last acknowledgement or message."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._retry_policy = retry_policy
        self.progress()

    def progress(self) -> None:
        """Reset the count after an acknowledgement or a message."""
        self._failures = 0
        self._since = self._retry_policy.now()

    def next_wait(self, error: HutongError) -> float:
        """Return the seconds until the next try, or raise the error if the retry policy gives up.

        The wait doubles with each failure, and is never shorter than the delay that the service asks for.
        """
        if self._retry_policy.now() - self._since > self._retry_policy.without_progress.total_seconds():
            raise error
        asked = error.retry_delay.total_seconds() if error.retry_delay else 0.0
        backoff = min(_FIRST_BACKOFF * 2**self._failures, self._retry_policy.most_seconds)
        self._failures += 1
        # Jitter, so that many laboratories do not call a restarted service in the same instant.
        return float(max(asked, backoff) * random.uniform(1.0, 1.25))  # noqa: S311
