"""Times that Results keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.runtime.client.reconnect import Backoff


@dataclass(frozen=True, slots=True)
class ResultsTiming:
    """Waits, in seconds.

    Attributes:
        watch_heartbeat: the longest a watcher of results waits for a message.
        tail_poll: between two looks at the change log for commits of other processes: how late one may be reported.
        tail_gather: between a commit of this process and the look at the change log. The commits of a busy moment are
            read together.
        partition_interval: between two looks at the calendar. The month after this one is ready weeks before it begins.
        partition_retry: after a failure. At start the database may still be unavailable, or its schema behind.
        missing_report_pause: between two transactions. A flood of claims costs the database five small ones a second.
        missing_report_retry: after a failure.
        sender_idle: between two looks at the change log when nothing is new: how late a change may set out.
        sender_heartbeat: between two checkpoints when nothing is new, or too much: how long a token may wait that
            stands for nothing new.
        sender_answer: a frame that is not answered for this long stands in a broken connection.
        sender_standby: between two looks whether this process is to send in place of another one of its node.
        sender_backoff: after the loss of a replication.
        backlog_count: between two counts of the backlog. One costs a row for each writer of the change log.
        listener_silence: a watch of notifications that says nothing for longer is given up: heartbeats come at least
            every five seconds.
        listener_renewal: how long one watch of notifications is kept. The position that the next one begins with tells
            the node above what it may forget.
        listener_backoff: after the loss of a watch.
        subscribe: the longest a call to subscribe may take.
        notification_poll: between two looks for new notifications, one for all watches: how late one may be sent.
        notification_heartbeat: the longest silence of a watch of notifications; five seconds are promised.
    """

    watch_heartbeat: float = 5.0
    tail_poll: float = 0.1
    tail_gather: float = 0.02
    partition_interval: float = 3600.0
    partition_retry: float = 5.0
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
