"""The complete files of a folder, uploaded once for each content."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.failures import describe_failure, say_failure
from hutong_client.cli.uploads.files import list_files
from hutong_client.cli.uploads.journal import hash_file
from hutong_client.cli.watched.ledger import Ledger

RETRY_SECONDS = 30.0
"""The pause after a failed connection, in which no further file is tried."""
_SENT = frozenset({ExitCode.DONE, ExitCode.PARTLY})
_Mark = tuple[int, int, int]
"""The properties that show whether a file has changed: its size, its time of modification and its inode."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a file.

    Attributes:
        code: the exit code that the upload of this file alone would have.
        content: the outcome with stable names; names without a value are left out.
        sent_as: the name under which the same content was sent before; empty if the content is new.
    """

    code: ExitCode
    content: dict[str, Any]
    sent_as: str = ""


class WatchedFolder:
    """Uploads the files of a folder that are complete and whose content was not sent before.

    A file is complete when its size and its time of modification have not changed for `settle_seconds`. A file that is
    refused for its content is not tried again until it changes.

    Args:
        folder: the folder. Its subfolders are not read.
        ledger: the contents that were sent.
        upload: uploads a file, going on where an interrupted upload of it ended.
        report: receives the outcome of each file.
        settle_seconds: how long a file must stay unchanged.
        now: a monotonic clock in seconds.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        upload: Callable[[Path], Outcome],
        report: Callable[[Path, Outcome], None],
        settle_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self._upload = upload
        self._report = report
        self._settle_seconds = settle_seconds
        self._now = now
        self._seen: dict[Path, tuple[_Mark, float]] = {}
        self._done: dict[Path, _Mark] = {}
        self._retry_time = 0.0

    def look(self) -> bool:
        """Upload the files that are complete now. Return whether other files wait: incomplete or not sent."""
        if self._now() < self._retry_time:
            return True
        waits = False
        for file in list_files(self._folder):
            mark = _mark_of(file)
            if mark is None or self._done.get(file) == mark:
                continue
            if not self._is_complete(file, mark):
                waits = True
                continue
            outcome = self._send(file, mark)
            if outcome is None:
                waits = True
            elif outcome.code == ExitCode.NO_CONNECTION:
                self._report(file, outcome)
                self._retry_time = self._now() + RETRY_SECONDS
                return True
            else:
                self._done[file] = mark
                self._report(file, outcome)
        return waits

    def _is_complete(self, file: Path, mark: _Mark) -> bool:
        seen, since = self._seen.get(file, (None, 0.0))
        if seen != mark:
            since = self._now()
            self._seen[file] = mark, since
        return self._now() - since >= self._settle_seconds

    def _send(self, file: Path, mark: _Mark) -> Outcome | None:
        """Upload a file unless its content was sent. Return None if it has changed meanwhile or is being uploaded."""
        try:
            sha256 = hash_file(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Outcome(say_failure(error), {"error": describe_failure(error)})
        if _mark_of(file) != mark:
            return None
        if (sent_as := self._ledger.find(sha256)) is not None:
            return Outcome(ExitCode.DONE, {}, sent_as)
        outcome = self._upload(file)
        if outcome.code == ExitCode.RUNNING or _mark_of(file) != mark:
            return None
        if outcome.code in _SENT:
            self._ledger.add(sha256, file.name, str(outcome.content.get("upload", "")))
        return outcome


def _mark_of(file: Path) -> _Mark | None:
    """Return a value that changes when the file is written or replaced; None if the file is gone."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
