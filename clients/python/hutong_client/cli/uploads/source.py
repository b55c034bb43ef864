"""Where an upload reads from, and beside which path it keeps its journal and its rejected rows."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STDIN = Path("-")
"""Standard input, as the commands name it."""
_SPECIAL = (Path("/dev"), Path("/proc"))


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is uploaded.

    Attributes:
        file: the file that is read. It can be read several times.
        beside: the path whose neighbours are the journal, the lock and the rejected rows. It need not exist.
    """

    file: Path
    beside: Path


@contextmanager
def open_source(path: Path, work_dir: Path | None = None) -> Iterator[Source]:
    """Open a file, a FIFO or standard input (`STDIN`).

    Args:
        path: the path.
        work_dir: the folder for the journal and the rejected rows; None for the folder of the file, or for the working
            directory if there is no file.
    """
    with open_readable(path) as file:
        is_nameless = path == STDIN or _is_special(path)
        name = "stdin" if is_nameless else path.name
        folder = work_dir or (Path() if is_nameless else path.parent)
        yield Source(file, folder / name)


@contextmanager
def open_readable(path: Path) -> Iterator[Path]:
    """Yield a path that can be read several times.

    A FIFO, a device such as /dev/stdin, and standard input are copied to a temporary file that only its owner can read.
    """
    if path != STDIN and path.is_file() and not _is_special(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hutong-") as folder:
        # The name is kept, because it may say the format and name the test.
        copy = Path(folder) / ("stdin" if path == STDIN else path.name)
        with copy.open("wb") as target:
            if path == STDIN:
                shutil.copyfileobj(sys.stdin.buffer, target)
            else:
                with path.open("rb") as content:
                    shutil.copyfileobj(content, target)
        yield copy


def _is_special(path: Path) -> bool:
    """Check whether a path names an open file of this process and not a file of its own."""
    return any(path.absolute().is_relative_to(folder) for folder in _SPECIAL)
