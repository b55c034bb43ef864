"""Where an upload reads from, and beside which path it keeps its journal and its rejected rows."""

from __future__ import annotations

import errno
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hutong_texts import tr

from hutong_client.tables.rows import NotATable

STDIN = Path("-")
"""Standard input, as the commands name it."""
_CHUNK = 1 << 20
MOST_BYTES = 4 << 30
"""The most bytes that are read from a pipe, far more than any file of a laboratory has. More bytes could fill the
disk."""
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
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
                copy_stream(sys.stdin.buffer, target)
            else:
                with path.open("rb") as content:
                    copy_stream(content, target)
        yield copy


def describe_read_only(error: OSError, folder: Path) -> str:
    """Say what to do if an upload may not write beside its file; return an empty text for any other error."""
    if error.errno not in _READ_ONLY:
        return ""
    return tr(
        "{folder} cannot be written, where the journal and the rejected rows are kept; name another folder "
        "with --work-dir",
        folder=folder,
    )


def copy_stream(content: IO[bytes], target: IO[bytes], most_bytes: int = MOST_BYTES) -> None:
    """Copy a stream.

    Raise NotATable beyond `most_bytes`, because an endless stream, such as /dev/zero, would fill the disk.
    """
    size = 0
    while chunk := content.read(_CHUNK):
        size += len(chunk)
        if size > most_bytes:
            limit = math.ceil(most_bytes / (1 << 30))
            raise NotATable(
                tr("more than {size} GiB came from the pipe; no file of a laboratory is so large", size=limit)
            )
        target.write(chunk)


def _is_special(path: Path) -> bool:
    """Check whether a path lies in /dev or /proc. Such a path names an open file of this process or a device."""
    return any(path.absolute().is_relative_to(folder) for folder in _SPECIAL)
