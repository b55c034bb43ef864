"""Times that a server keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """Waits, in seconds.

    Attributes:
        check: the wait between two deep health checks. Health can be stale by this wait plus the time of one check.
        check_timeout: a health check that takes longer has failed. Verification waits two seconds for Results or
            Policy, so a slower database is of no use to it.
        cancel: how long a cancelled call may take to end before what it uses is closed.
        deadline: the deadline of a caller that sets none. No unary call takes as long in normal operation.
        reload: the wait between two checks for changed files. This wait and `recheck` together are far below one
            minute. After that minute a denied caller must have no stream left.
        recheck: the wait between two checks of the callers of open streams.
        connection_age: the age at which a connection takes no new call; gRPC varies it by a tenth either way. The
            client connects again and shows its present certificate.
        connection_grace: how long calls on such a connection may go on. Streams are then cut, and their clients open
            them again.
    """

    check: float = 1.0
    check_timeout: float = 5.0
    cancel: float = 2.0
    deadline: float = 30.0
    reload: float = 5.0
    recheck: float = 30.0
    connection_age: float = 3600.0
    connection_grace: float = 300.0
