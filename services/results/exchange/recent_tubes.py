"""Tubes that nodes below sent in the last seconds, in the form in which this node sends them to the node above.

A node in the middle stores what a node below sends, and sends it on a moment later. While the tubes are kept here, the
sender need not read them from the database and encode them again. They are what the sender would have read right after
the commit. The sender may read any commit at that moment, so whatever changes the reports afterwards comes to the node
above in a later entry.

Nothing depends on these tubes. If they are not here, the sender reads the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hutong.exchange.v1.replica_pb2 import ReplicatedTubes

from services.domain.instant import SECOND, Instant, Span, set_timestamp
from services.domain.names import format_node
from services.results.changelog.model import ChangeKind, Entry
from services.results.exchange.model import ReplicaTubes
from services.runtime.consistency import LogPosition

MOST_PERSONS = 36_000
"""The most persons that are kept. They take about 20 MB. If there are more, the older ones stay, because the sender
reaches these first."""
LONGEST: Span = 10 * SECOND
"""How long tubes are kept. A sender that is further behind reads the database."""


class SentTubes(NamedTuple):
    """Tubes, and the message in which they arrived or will be sent."""

    tubes: ReplicaTubes
    message: ReplicatedTubes


class LoggedTubes(NamedTuple):
    """The tubes that an entry of the log lists, in the order of the entry. `reports` is what the entry lists."""

    position: LogPosition
    reports: Sequence[tuple[str, int]]
    tubes: Sequence[SentTubes]


class _Kept(NamedTuple):
    logged: LoggedTubes
    keep_time: Instant


class RecentTubes:
    """Keeps tubes between the receiver and the sender of one process. Threads may share it."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self._kept: dict[LogPosition, _Kept] = {}
        self._persons = 0
        self._lock = threading.Lock()

    def keep(self, some: Sequence[LoggedTubes]) -> None:
        """Keep tubes whose entries have been committed. Their messages are changed for sending."""
        now = self._now()
        for logged in some:
            for tubes, message in logged.tubes:
                _prepare(message, tubes)
            with self._lock:
                self._forget_old(now)
                if self._persons + len(logged.reports) <= MOST_PERSONS:
                    self._kept[logged.position] = _Kept(logged, now)
                    self._persons += len(logged.reports)

    def take(self, entry: Entry) -> Sequence[SentTubes]:
        """Return the tubes that an entry lists, and forget them. Return none if they are not kept.

        None are returned either if the entry has changed since, because retention has erased names in it.
        """
        if entry.kind is not ChangeKind.RESULTS:
            return ()
        with self._lock:
            self._forget_old(self._now())
            kept = self._kept.pop(LogPosition(entry.life, entry.writer_id, entry.sequence), None)
            if kept is None:
                return ()
            self._persons -= len(kept.logged.reports)
        return kept.logged.tubes if kept.logged.reports == entry.reports and not entry.other_keys else ()

    def _forget_old(self, now: Instant) -> None:
        """Forget what has been kept for too long. The dictionary is in the order of the times."""
        while self._kept:
            position, oldest = next(iter(self._kept.items()))
            # A clock that was set back must not keep them for longer.
            if 0 <= now - oldest.keep_time < LONGEST:
                return
            del self._kept[position]
            self._persons -= len(oldest.logged.reports)


def _prepare(message: ReplicatedTubes, tubes: ReplicaTubes) -> None:
    """Make the message that this node would make of the same tubes.

    A node below may have left out its own name, and may have stated fields that this release does not know.
    """
    message.DiscardUnknownFields()
    message.source_node = format_node(tubes.source_node)
    set_timestamp(message.upload_time, tubes.upload_time)
