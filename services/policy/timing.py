"""The waits of the Policy service, and the size of its transactions."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.runtime.client.reconnect import Backoff


@dataclass(frozen=True, slots=True)
class PolicyTiming:
    """Waits in seconds, and the size of a transaction.

    Attributes:
        heartbeat_seconds: the longest wait between two messages to a watcher. A watcher may use its cached answers
            while heartbeats arrive.
        poll_seconds: the wait between two checks of the store for publications of other processes.
        silence_seconds: how long a watch of the node above may be silent before its connection counts as broken. The
            contract promises a heartbeat at least every five seconds.
        position_store_seconds: how often the instant of a heartbeat is stored if nothing else was received.
        revisions_per_write: how many revisions of the node above one transaction stores. Local publications wait for
            such a transaction, so it must be short.
        standby_seconds: how long a process waits before its next attempt if another process sends the policies of the
            node.
        founding_seconds: how long a call waits for a node that is being founded. If the node above answers, a founding
            takes a fraction of a second.
        catch_up_seconds: how long the first publication after a start waits for the watch of the upstream node.
        upstream_check_seconds: how long this node waits, at its start, for the node above to say that it serves this
            node.
        backoff: the waits before the watch of the node above, or the stream to it, is opened again.
    """

    heartbeat_seconds: float = 1.0
    poll_seconds: float = 0.1
    silence_seconds: float = 7.5
    position_store_seconds: float = 10.0
    revisions_per_write: int = 500
    standby_seconds: float = 1.0
    founding_seconds: float = 1.0
    catch_up_seconds: float = 1.0
    upstream_check_seconds: float = 1.0
    backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 1.0))
