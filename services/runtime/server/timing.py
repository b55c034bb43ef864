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
        reload: between two looks for changes of the files that are read again. Together with `recheck` it is far below
            the minute after which a caller that was denied must have no stream left.
        recheck: between two checks of the callers of open streams.
        connection_age: after which a connection takes no new call; gRPC varies it by a tenth either way. Its client
            connects again and shows a certificate of today.
        connection_grace: how long calls may go on after that. Streams are then cut and are opened again.
    """

    check: float = 1.0
    check_timeout: float = 5.0
    cancel: float = 2.0
    deadline: float = 30.0
    reload: float = 5.0
    recheck: float = 30.0
    connection_age: float = 3600.0
    connection_grace: float = 300.0
