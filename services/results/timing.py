"""Intervals and time limits of the Results service."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.runtime.client.reconnect import Backoff


@dataclass(frozen=True, slots=True)
class ResultsTiming:
    """Intervals and time limits, in seconds.

    Attributes:
        watch_heartbeat: the longest silence of a watch of results.
        tail_poll: between two reads of the change log for commits of other processes, and so the longest delay of one.
        tail_gather: between a commit of this process and the read of the change log, so that commits of a busy moment
            are read together.
        partition_interval: between two checks for missing partitions. A partition is ready weeks before its month.
        partition_retry: after a failed check. At start the database may be unavailable, or its schema old.
        partition_tries: attempts to create the partition of a batch. After the last one, at most 12 seconds later, the
            upload fails with UNAVAILABLE.
        partition_try_pause: between two attempts, in which the transactions that queued behind the last one go on.
        missing_report_pause: between two transactions: a flood of claims costs at most five small ones a second.
        missing_report_retry: after a failed transaction.
        sender_idle: between two reads of the change log while nothing is new, and so the longest delay of a change.
        sender_heartbeat: between two checkpoints while nothing is new or there is a backlog, and so the longest wait
            for a token that stands for nothing new.
        sender_answer: a stream whose frame is not answered for this long is taken as broken.
        sender_standby: between two tries of this process to become the sender of its node.
        sender_backoff: after a replication failed.
        backlog_count: between two counts of the backlog. A count reads one row for each writer of the change log.
        listener_silence: a watch of notifications is closed after this silence: three missing heartbeats, which are
            promised every five seconds.
        listener_renewal: how long one watch of notifications is kept. The position that starts the next one lets the
            node above delete what precedes it.
        listener_backoff: after a watch failed.
        subscribe: the longest a call to subscribe may take.
        notification_poll: between two reads for new notifications, shared by all watches, and so their longest delay.
        notification_heartbeat: the longest silence of a watch of notifications. The contract promises five seconds.
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
    sender_answer: float = 15.0
    sender_standby: float = 3.0
    sender_backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 5.0))
    backlog_count: float = 1.0
    listener_silence: float = 15.0
    listener_renewal: float = 600.0
    listener_backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 2.0))
    subscribe: float = 5.0
    notification_poll: float = 0.1
    notification_heartbeat: float = 3.0
