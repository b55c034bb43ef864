"""Files that only their owner can read, because they hold people's data, keys or addresses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def open_privately(name: str, flags: int) -> int:
    """Open a file that only its owner can read, as the `opener` of `open`."""
    return os.open(name, flags, 0o600)


@contextmanager
def replace_privately(path: Path) -> Iterator[TextIO]:
    """Yield a file that replaces the one at the path when the block ends.

    Until the block ends, and if the process is killed before, the earlier file stays. The new content is on the disk
    before it replaces the old content. If the block fails, the path is unchanged.

    Raises:
        OSError: the file cannot be written.
    """
    handle, draft = tempfile.mkstemp(".new", path.name + ".", path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
