"""Files that are read again while the process runs: after a change, and on SIGHUP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import structlog
from prometheus_client import Counter

from services.runtime.configuration.variables import BadSetting

T = TypeVar("T")
Signature: TypeAlias = tuple[object, ...]
"""A value that differs whenever one of several files was written or replaced, or its mode or the mode of its folder was
changed."""

FAILURES = Counter(
    "hutong_reload_failures_total", "Changed files that could not be used, so that the former ones stay", ["setting"]
)

_log = structlog.get_logger(__name__)


def signature_of(paths: Sequence[Path]) -> Signature:
    """Return the signature of files. Missing files contribute to the signature too.

    The modes of the files and of their folders also contribute. A file that was refused because other users could read
    or replace it is therefore tried again after `chmod`.
    """
    found: list[object] = []
    for path in paths:
        try:
            stat, folder = path.stat(), path.resolve().parent.stat()
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_mode, folder.st_mode))
    return tuple(found)


class ReloadedFiles(Generic[T]):
    """Files that are read together: once at the start, and whenever one of them has changed.

    `load` reads and checks the files in a thread. It raises BadSetting if they cannot be used. `use` applies the loaded
    content in the event loop. If the files can no longer be used, the content before stays in force.
    """

    def __init__(self, setting: str, paths: Sequence[Path], load: Callable[[], T], use: Callable[[T], None]) -> None:
        self._setting = setting
        self._paths = paths
        self._load = load
        self._use = use
        # The signature is taken before the files are first read. A change between the two steps is therefore noticed.
        self._signature = signature_of(paths)
        use(load())

    async def refresh(self, *, force: bool = False) -> bool:
        """Read the files again if they have changed, or in any case with `force`. Return whether they were applied.

        Files that could not be used are tried again after their next change.
        """
        signature = await asyncio.to_thread(signature_of, self._paths)
        if signature == self._signature and not force:
            return False
        self._signature = signature
        try:
            loaded = await asyncio.to_thread(self._load)
        except BadSetting as error:
            FAILURES.labels(self._setting).inc()
            _log.error("a changed file cannot be used; the former one stays", setting=self._setting, text=str(error))
            return False
        self._use(loaded)
        _log.info("reloaded", setting=self._setting)
        return True


class Reloads:
    """All files of one server that are read again. `on_change` is called after any of them were applied."""

    def __init__(self, files: Sequence[ReloadedFiles[Any]], on_change: Callable[[], None], seconds: float) -> None:
        self._files = files
        self._on_change = on_change
        self._seconds = seconds
        # Without the lock, a periodic check could read the older content and apply it after the newer content.
        self._one_at_a_time = asyncio.Lock()

    async def refresh(self, *, force: bool = False) -> None:
        """Read the changed files again. With `force`, read all files again."""
        async with self._one_at_a_time:
            changed = [await files.refresh(force=force) for files in self._files]
        if any(changed):
            self._on_change()

    async def run(self) -> None:
        """Check for changes periodically until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.refresh()
