"""Waits and ages that Verification uses with its sources."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.instant import MINUTE, Span


@dataclass(frozen=True, slots=True)
class SourceTiming:
    """Waits and ages, in seconds unless they are spans.

    Attributes:
        silence_seconds: how long a watch may be silent and still count as live. The contract promises a heartbeat at
            least every five seconds.
        retry_seconds: the wait before a watch is opened again.
        unwatched_seconds: how long an answer is used without a watch that would report its change. This limit is short,
            so that every publication is seen within a second.
        token_retry_seconds: the wait before Policy is asked again if it has not yet seen the write of a token.
        longest_absence: how old the last answers may be while Policy is unavailable. After that no policy is known and
            the outcome is UNDETERMINED, which is never a refusal (docs/policy.md §9).
    """

    silence_seconds: float = 7.5
    retry_seconds: float = 0.2
    unwatched_seconds: float = 0.25
    token_retry_seconds: float = 0.05
    longest_absence: Span = 30 * MINUTE
