"""How workers are started, the time limits of a group, and how a group fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hutong_texts import Text


@dataclass(frozen=True, slots=True)
class GroupTiming:
    """Waits and time limits of a group, in seconds.

    Attributes:
        waits: the waits before a worker that ended early is started again. The first early end is followed by the first
            wait, and so on. After the last of these waits, one more early end also ends the group, because further
            workers would fail too.
        early: a worker that ends within this time after its start has ended early.
        ready: how long a worker may take until it serves, while the workers are replaced one by one.
        metrics: how long a worker may take to send its metrics. After that, its last known metrics are used.
        kill: how long a worker may go on after the drain before it is killed.
        silent: if a worker has served and then sends nothing for this time, it hangs and is killed. A worker sends its
            health each second.
        look: the wait between two checks for workers that hang.
    """

    waits: Sequence[float] = (0.1, 0.5, 2.0, 5.0)
    early: float = 30.0
    ready: float = 60.0
    metrics: float = 1.0
    kill: float = 5.0
    silent: float = 60.0
    look: float = 1.0


class WorkersFailed(Exception):
    """The workers cannot serve. `code` is the exit code of the parent."""

    def __init__(self, code: int, text: Text) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Launch:
    """How a worker is started.

    Attributes:
        command: the program and its arguments.
        environment: the environment of the program.
        files: open files of this process that the worker gets. This process closes them after the start.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    files: Sequence[int] = ()
