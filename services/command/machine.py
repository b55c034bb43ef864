"""Checks of the machine for `hutongd doctor`: its clock and its disks."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.command.findings import Finding, Level
from services.runtime.settings import Settings
from services.storage.engine import find_sqlite_file

LOW_BYTES = 2 << 30
"""Free space below which to warn: about ten million results."""
FULL_BYTES = 256 << 20
"""Free space that SQLite needs at least. Its log alone grows to 64 MiB, and more while a long read runs."""
TIMEX_BYTES = 256
"""More than Linux's struct timex has (208 bytes)."""
TIME_ERROR = 5
"""What adjtimex returns while nothing synchronises the clock (adjtimex(2))."""
OTHERS = 0o077
"""The mode bits that let a file's group and others use it."""


def is_open_to_others(file: Path) -> bool:
    """Return whether other users of the machine may use a file."""
    return bool(file.stat().st_mode & OTHERS)


def check_clock() -> Finding:
    """Say whether the kernel counts the clock as synchronised. Decisions compare times of many machines."""
    try:
        # A structure of zeros asks and changes nothing.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except AttributeError:
        state = -1
    if state == TIME_ERROR:
        return Finding("clock", Level.WARNING, "nothing synchronises it: start chrony or systemd-timesyncd")
    if state < 0:
        return Finding("clock", Level.WARNING, "the system does not say if it is synchronised: check its NTP client")
    return Finding("clock", Level.OK, "is synchronised")


def check_disk(settings: Settings, services: Sequence[str]) -> Iterator[Finding]:
    """Look at each folder of a SQLite database."""
    folders = []
    for service in services:
        file = find_sqlite_file(settings.service(service).database_url)
        if file is not None:
            folders.append(file.absolute().parent)
    for folder in dict.fromkeys(folders):
        yield _check_folder(folder)


def _check_folder(folder: Path) -> Finding:
    # A folder that does not exist yet is made in the nearest one that does.
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding("disk", Level.FAULT, f"this user cannot write to {existing}: change HUTONG_DATA_DIR")
    free = shutil.disk_usage(existing).free
    text = f"{folder} has {free / (1 << 30):.1f} GiB free"
    if free < FULL_BYTES:
        return Finding("disk", Level.FAULT, f"{text}: free some at once, writes are about to fail")
    if free < LOW_BYTES:
        return Finding("disk", Level.WARNING, f"{text}: free some or add a disk")
    return Finding("disk", Level.OK, text)
