"""Times that a server keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """Waits, in seconds.

    Attributes:
        check: between two deep health checks. Health can be stale by this much and one check.
        check_timeout: a health check that takes longer has failed. Verification waits two seconds for Results or
            Policy, so a slower database is of no use to it.
        cancel: how long a cancelled call may take to end before what it uses is closed.
        deadline: the deadline of a caller that sets none. No unary call takes as long in normal operation.
    """

    check: float = 1.0
    check_timeout: float = 5.0
    cancel: float = 2.0
    deadline: float = 30.0
