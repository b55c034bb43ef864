"""Times that Policy keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.runtime.client.reconnect import Backoff


@dataclass(frozen=True, slots=True)
class PolicyTiming:
    """Waits, in seconds.

    Attributes:
        heartbeat_seconds: the longest a watcher waits for a word. It holds its answers as long as the heartbeat lasts.
        poll_seconds: between two looks at the store for publications of other processes.
        silence_seconds: a watch of the node above that says nothing for longer stands in a broken connection:
            heartbeats come at least every five seconds.
        kept_every_seconds: how often the instant of a heartbeat is stored when nothing else came.
        backoff: after the loss of the watch on the node above.
    """

    heartbeat_seconds: float = 1.0
    poll_seconds: float = 0.1
    silence_seconds: float = 7.5
    kept_every_seconds: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 1.0))
