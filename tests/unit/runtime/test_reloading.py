"""Files that are read again: the newest content stays, also if a signal comes in the middle of a periodic check."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from services.runtime.reloading import ReloadedFiles, Reloads
from tests.support.replaced import replace_file
from tests.support.waiting import TIMEOUT_SECONDS, turns


async def test_a_slow_check_does_not_undo_a_later_one(tmp_path: Path) -> None:
    """The check has read the older content when the file changes again and a signal asks for a reload."""
    file = tmp_path / "rules"
    file.write_text("first")
    has_read, go_on = threading.Event(), threading.Event()
    used: list[str] = []

    def load() -> str:
        content = file.read_text()
        if content == "second":
            has_read.set()
            go_on.wait(TIMEOUT_SECONDS)
        return content

    reloads = Reloads([ReloadedFiles("HUTONG_RULES", [file], load, used.append)], lambda: None, 1.0)
    replace_file(file, "second")
    check = asyncio.ensure_future(reloads.refresh())
    await asyncio.to_thread(has_read.wait, TIMEOUT_SECONDS)
    replace_file(file, "third")
    signalled = asyncio.ensure_future(reloads.refresh(force=True))
    await turns()
    go_on.set()
    await asyncio.gather(check, signalled)
    assert used == ["first", "second", "third"]
