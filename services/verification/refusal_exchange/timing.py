"""Intervals and time limits of the exchange of reported refusals."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.runtime.client.reconnect import Backoff


@dataclass(frozen=True, slots=True)
class RefusalTiming:
    """Intervals and time limits, in seconds.

    Attributes:
        idle: the time between two reads of the outbox while nothing is to be sent. A change is sent at most this much
            later.
        heartbeat: the longest silence of one side. The contract promises five seconds.
        silence: how long the other side may be silent before the stream is closed. Three heartbeats are then missing.
        standby: the time between two tries of a process to become the process that calls the node above.
        deferred: after the other node has deferred a report, the time until the report is sent again.
        assess: the time between two reads for reports that this node is to assess.
        assess_retry: the time until a report is assessed again after a source did not answer.
        counts: the time between two reads for changed counts of decisions. Counts reach the node above about this much
            later, and a count that changes all the time is not sent more often.
        escalation: the time between two reads for overdue reports of the nodes below.
        upstream_check: how long this node waits, at its start, for the node above to say that it serves this node.
        backoff: the pauses after a stream failed.
    """

    idle: float = 0.5
    heartbeat: float = 4.0
    silence: float = 15.0
    standby: float = 2.0
    deferred: float = 60.0
    assess: float = 1.0
    assess_retry: float = 30.0
    counts: float = 30.0
    escalation: float = 60.0
    upstream_check: float = 1.0
    backoff: Backoff = field(default_factory=Backoff)
