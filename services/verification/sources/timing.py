"""Times that Verification keeps with its sources."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.instant import MINUTE, Span


@dataclass(frozen=True, slots=True)
class SourceTiming:
    """Waits and ages, in seconds unless they are spans.

    Attributes:
        silence_seconds: a watch that says nothing for longer is not live: heartbeats come at least every five seconds.
        retry_seconds: between the loss of one watch and the next try.
        unwatched_seconds: how long an answer is used without a watch that would report its change. A publication is
            then still seen within a second.
        token_retry_seconds: between two questions to a Policy that has not yet seen what the caller's token stands for.
        longest_absence: how old the last answers may grow while Policy is unavailable. After it no rule is known, which
            refuses nobody.
    """

    silence_seconds: float = 7.5
    retry_seconds: float = 0.2
    unwatched_seconds: float = 0.25
    token_retry_seconds: float = 0.05
    longest_absence: Span = 30 * MINUTE
