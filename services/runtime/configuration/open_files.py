"""Finds out which files other users of the machine can use."""

from __future__ import annotations

import stat
from pathlib import Path

from hutong_texts import Text, english

from services.runtime.configuration.variables import BadSetting


def is_open(path: Path, used: int, entered: int) -> bool:
    """Whether a path has one of the mode bits `used`, and each folder above it has one of the mode bits `entered`."""
    resolved = path.absolute().resolve()
    return bool(_mode(resolved) & used) and all(_mode(folder) & entered for folder in resolved.parents)


def is_readable_by_everybody(path: Path) -> bool:
    """Whether every user of the machine can read a file."""
    return is_open(path, stat.S_IROTH, stat.S_IXOTH)


def is_writable_by_everybody(path: Path) -> bool:
    """Whether every user of the machine can change a file, or put another file in its place.

    In a folder with the sticky bit, such as /tmp, only the owner of a file can replace it.
    """
    if is_open(path, stat.S_IWOTH, stat.S_IXOTH):
        return True
    folder = path.absolute().resolve().parent
    replaces = _mode(folder) & stat.S_IWOTH and not _mode(folder) & stat.S_ISVTX
    return bool(replaces) and is_open(folder, stat.S_IXOTH, stat.S_IXOTH)


def find_open_secret(setting: str, file: Path) -> Text:
    """Return a text if every user can use the secret file of a setting.

    The text has the command that makes the file private. Otherwise return an empty text. The file's group may read the
    file, because systems hand secrets to a service in this way.
    """
    if not is_open(file, stat.S_IROTH | stat.S_IWOTH, stat.S_IXOTH):
        return Text("")
    return english("{name}: every user of this machine can use {file}: chmod o-rwx {file}", name=setting, file=file)


def find_open_rules(setting: str, file: Path) -> Text:
    """Return a text, with the command that prevents it, if every user can change the file of a setting.

    Otherwise return an empty text.
    """
    if not is_writable_by_everybody(file):
        return Text("")
    return english(
        "{name}: every user of this machine can change {file}: chmod o-w {file} and its folder", name=setting, file=file
    )


def require_own_rules(setting: str, file: Path) -> None:
    """Check that not every user of the machine can change the file of a setting. Call it whenever the file is read.

    Raises:
        BadSetting: every user can change the file.
    """
    if fault := find_open_rules(setting, file):
        raise BadSetting(fault)


def _mode(path: Path) -> int:
    """Return the mode of a file. A file that does not exist has mode 0, because others cannot use it."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0
