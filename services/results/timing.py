"""Intervals and time limits of the Results service."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.runtime.client.reconnect import Backoff


@dataclass(frozen=True, slots=True)
class ResultsTiming:
    """Intervals and time limits, in seconds.

    Attributes:
        watch_heartbeat: the longest silence of a watch of results.
        tail_poll: the time between two reads of the change log for commits of other processes. Watchers get such a
            commit at most this much later.
        tail_gather: the time between a commit of this process and the read of the change log, so that one read takes
            the commits of a busy moment.
        partition_interval: the time between two checks for missing partitions. The partition of a month is made weeks
            in advance.
        partition_retry: the pause after a failed check. At the start the database may be unavailable or have an old
            schema.
        partition_tries: the number of attempts to create the partition of a batch. After the last attempt, at most 12
            seconds later, the upload fails with UNAVAILABLE.
        partition_try_pause: the time between two such attempts. Transactions that queued behind the earlier attempt go
            on meanwhile.
        missing_report_pause: the time between two transactions that store missing reports. A flood of claims therefore
            costs at most five small transactions a second.
        missing_report_retry: the pause after a failed transaction.
        sender_idle: the time between two reads of the change log while nothing is new. A change is sent at most this
            much later.
        sender_heartbeat: the time between two checkpoints while nothing is new or there is a backlog. It is also the
            longest wait for a consistency token whose commit changed nothing.
        sender_audit_heads: the time between two checkpoints with the newest heads of the node's audits.
        sender_answer: a stream counts as broken if a frame is not answered for this long.
        sender_standby: the time between two attempts of this process to become the sender of its node.
        sender_backoff: the pauses after a failed replication.
        backlog_count: the time between two counts of the backlog. A count reads one row for each writer of the change
            log.
        listener_silence: a watch of notifications without any message is closed after this time. The contract promises
            a heartbeat every five seconds, so three heartbeats are then missing.
        listener_renewal: how long one watch of notifications is kept. The next watch begins with the position that this
            node has reached. The node above may then delete the notifications before that position.
        listener_backoff: the pauses after a failed watch.
        upstream_check: how long this node waits, at its start, for the node above to say that it serves this node.
        subscribe: the longest time that a call to subscribe may take.
        token_wait: the longest that a look-up waits until nodes have the commits of its consistency tokens. The
            deadline of the caller may be earlier.
        marking_poll: the time between two checks whether the first node below has joined.
        marking_pause: the time between two steps that mark stored adverse subjects. On SQLite other commits go on
            meanwhile.
        replica_poll: the time between two checks of how far the primary and its read replicas are.
        replica_read: how long a read may wait for a replica. After that the primary is asked.
        totals_interval: the time between two steps that include new counts of delays in their totals. Until then a
            summary reads the new counts row by row.
        totals_pause: the time between two transactions that include counts. On SQLite other commits go on meanwhile.
        notification_poll: the time between two reads for new notifications. All watches share these reads. A
            notification is sent at most this much later.
        notification_heartbeat: the longest silence of a watch of notifications. The contract allows five seconds.
        notification_passed: how long notifications before the position of a watch are kept. It exceeds the time in
            which a node stores the position of a subscription. A position that is stored later makes the node subscribe
            to every subject again.
    """

    watch_heartbeat: float = 5.0
    tail_poll: float = 0.1
    tail_gather: float = 0.02
    partition_interval: float = 3600.0
    partition_retry: float = 5.0
    partition_tries: int = 20
    partition_try_pause: float = 0.3
    missing_report_pause: float = 0.2
    missing_report_retry: float = 2.0
    sender_idle: float = 0.1
    sender_heartbeat: float = 1.0
    sender_audit_heads: float = 60.0
    sender_answer: float = 15.0
    sender_standby: float = 3.0
    sender_backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 5.0))
    backlog_count: float = 1.0
    listener_silence: float = 15.0
    listener_renewal: float = 600.0
    listener_backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 2.0))
    upstream_check: float = 1.0
    subscribe: float = 5.0
    token_wait: float = 3.0
    marking_poll: float = 1.0
    marking_pause: float = 0.02
    replica_poll: float = 0.25
    replica_read: float = 0.5
    totals_interval: float = 300.0
    totals_pause: float = 0.02
    notification_poll: float = 0.1
    notification_heartbeat: float = 3.0
    notification_passed: float = 60.0
