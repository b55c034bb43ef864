"""Checks of the machine for `hutongd doctor`: its clock and its disks."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from hutong_texts import english

from services.command.doctor.findings import Finding, Level
from services.runtime.configuration.settings import Settings
from services.storage.connections import find_sqlite_file

LOW_BYTES = 2 << 30
"""The free space in bytes below which `hutongd doctor` warns. It is enough for about ten million results."""
FULL_BYTES = 256 << 20
"""The free space in bytes that SQLite needs at least. Its log alone grows to 64 MiB, and further during a long read."""
TIMEX_BYTES = 256
"""The size of the buffer for Linux's struct timex, which has 208 bytes."""
TIME_ERROR = 5
"""What adjtimex returns if nothing synchronises the clock (adjtimex(2))."""
OTHERS = 0o077
"""The mode bits that let the file's group and other users use a file."""
GROUP_READS = 0o040
LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that Linux gives to connections that this machine opens."""
RESERVED_PORTS = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
"""The ports and ranges that Linux gives to no such connection, separated by commas."""


def is_open_to_others(file: Path) -> bool:
    """Return whether other users of the machine may use a file.

    The group may read a file that belongs to another user, such as root, because systems hand secrets to a service in
    this way.
    """
    found = file.stat()
    is_handed = found.st_uid == 0 or found.st_uid != os.geteuid()
    return bool(found.st_mode & (OTHERS & ~GROUP_READS if is_handed else OTHERS))


def is_given_away(port: int) -> bool:
    """Return whether Linux may give a port to a connection that this machine opens. No service could listen then."""
    try:
        first, last = map(int, LOCAL_PORTS.read_text(encoding="ascii").split())
        kept = RESERVED_PORTS.read_text(encoding="ascii").strip()
    except OSError:
        return False
    ranges = [one.partition("-") for one in kept.split(",") if one]
    return first <= port <= last and not any(int(low) <= port <= int(high or low) for low, _, high in ranges)


def check_clock() -> Finding:
    """Check that the kernel counts the clock as synchronised. Decisions compare times of many machines."""
    try:
        # adjtimex with a structure of zeros only reads the state of the clock.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except AttributeError:
        state = -1
    if state == TIME_ERROR:
        return Finding(
            english("clock"), Level.WARNING, english("nothing synchronises it: start chrony or systemd-timesyncd")
        )
    if state < 0:
        return Finding(
            english("clock"),
            Level.WARNING,
            english("the system does not say if it is synchronised: check its NTP client"),
        )
    return Finding(english("clock"), Level.OK, english("is synchronised"))


def check_disk(settings: Settings, services: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each folder of a SQLite database."""
    folders = []
    for service in services:
        file = find_sqlite_file(settings.service(service).database_url)
        if file is not None:
            folders.append(file.absolute().parent)
    for folder in dict.fromkeys(folders):
        yield _check_folder(folder)


def _check_folder(folder: Path) -> Finding:
    # A folder that does not exist yet will be created in the nearest of its parents that exists.
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            english("disk"),
            Level.FAULT,
            english("this user cannot write to {existing}: change HUTONG_DATA_DIR", existing=existing),
        )
    free = shutil.disk_usage(existing).free
    text = english("{folder} has {free:.1f} GiB free", folder=folder, free=free / (1 << 30))
    if free < FULL_BYTES:
        return Finding(
            english("disk"), Level.FAULT, english("{text}: free some at once, writes are about to fail", text=text)
        )
    if free < LOW_BYTES:
        return Finding(english("disk"), Level.WARNING, english("{text}: free some or add a disk", text=text))
    return Finding(english("disk"), Level.OK, text)
