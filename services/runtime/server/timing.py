"""Waits and time limits of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """Waits, in seconds.

    Attributes:
        check: the wait between two deep health checks. Published health can be older than this wait by the time of one
            check.
        check_timeout: a health check that takes longer has failed. Verification waits two seconds for Results or
            Policy, so a slower database is of no use to Verification.
        cancel: how long a cancelled call may take to end before what it uses is closed.
        deadline: the deadline of a caller that sets none. In normal operation every unary call takes less time.
        reload: the wait between two checks for changed files. One minute after a change of the deny-list, a denied
            caller must have no stream left. This wait and `recheck` together are far shorter.
        recheck: the wait between two checks of the callers of open streams.
        connection_age: the age at which a connection takes no further calls. gRPC varies the age by a tenth either way.
            The client then connects again and shows its present certificate.
        connection_grace: how long calls on such a connection may go on. After that, streams are cut and their clients
            open them again.
    """

    check: float = 1.0
    check_timeout: float = 5.0
    cancel: float = 2.0
    deadline: float = 30.0
    reload: float = 5.0
    recheck: float = 30.0
    connection_age: float = 3600.0
    connection_grace: float = 300.0
