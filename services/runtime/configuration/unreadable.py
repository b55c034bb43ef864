"""Texts about an operator's file that cannot be read: why, and what to do."""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping
from pathlib import Path

from hutong_texts import Text, english
from hutong_texts.system import system_text

PERMISSIONS = english("run it as the user of the services, or change the owner and the permissions")
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
"""Errors that mean that there is no file of that name."""
_ADVICE: Mapping[int, Text] = {
    **dict.fromkeys(_MISSING, english("put the file there, or correct the setting")),
    errno.EISDIR: english("name a file, not a folder"),
    errno.EPERM: PERMISSIONS,
    errno.EACCES: PERMISSIONS,
}


def unreadable(path: Path, error: OSError) -> Text:
    """Return why the file of a setting cannot be read, and what to do. The name of the setting stands before it."""
    return english(
        "cannot be read: {path}: {cause}; {advice}",
        path=path.absolute(),
        cause=system_text(error),
        advice=advise_reader(error),
    )


def find_missing(path: Path) -> Text:
    """Return why there is no file of that name, and what to do; empty if there is one."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return unreadable(path, error)
    return Text("") if is_file else english("names no file: {path}; correct the setting", path=path.absolute())


def advise_reader(error: OSError) -> Text:
    """Return what to do about the error of a file that cannot be read."""
    return _ADVICE.get(error.errno or 0, english("check the disk and its file system"))


def is_missing(error: OSError) -> bool:
    """Return whether there is no file of that name."""
    return error.errno in _MISSING
