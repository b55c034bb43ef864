"""A `systemctl` for tests of pages with steps for operators, and other programs that stand in for real ones."""

from __future__ import annotations

import os
from pathlib import Path


def put(folder: Path, name: str, text: str) -> None:
    """Make a program."""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def put_systemctl(directory: Path, body: str = "") -> Path:
    """Make a folder with a `systemctl` that notes what it was asked for, and does what `body` says."""
    folder = directory / "bin"
    folder.mkdir()
    put(folder, "systemctl", f'#!/bin/sh -e\necho "$@" >> {directory}/asked\n{body}')
    return folder


def path_of(*folders: Path) -> str:
    """Return the PATH in which folders come first."""
    return os.pathsep.join([*map(str, folders), os.environ["PATH"]])
