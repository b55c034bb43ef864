"""Checks that the user of a command and the services can use the same files."""

from __future__ import annotations

import glob
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

from hutong_texts import Text, english

from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.connections import find_sqlite_file

ROOT = 0


def refuse_foreign_root(settings: Settings, services: Sequence[str], more: Sequence[Path] = ()) -> None:
    """Keep root from making files in a folder of another user, because the services could not use these files.

    The folders are those of the SQLite databases, of the pepper that an embedded node makes, and `more`. A folder that
    does not exist counts as one of the user who owns the nearest folder above it.

    Raises:
        BadSetting: root runs the command in such a folder. The text says as whom to run it.
    """
    if os.geteuid() != ROOT:
        return
    files = [*_databases(settings, services), *(_pepper(settings) if services else ())]
    for folder in [*(file.absolute().parent for file in files), *(one.absolute() for one in more)]:
        existing = next(one for one in (folder, *folder.parents) if one.exists())
        if owner := existing.stat().st_uid:
            raise BadSetting(
                english(
                    "root would own what it makes in {folder}, and its owner could not use it: "
                    "run this command with {runner} before it",
                    folder=existing,
                    runner=_runner(owner, existing.stat().st_gid),
                )
            )


def refuse_foreign_files(settings: Settings, services: Sequence[str]) -> None:
    """Check that this user can use the files of the services.

    Raises:
        BadSetting: a file belongs to another user. The text has the command that changes that.
    """
    for fault in find_foreign_files(settings, services):
        raise BadSetting(fault)


def find_foreign_files(settings: Settings, services: Sequence[str]) -> Iterator[Text]:
    """Yield a text for each file or folder of the services that they cannot use, because it belongs to another user.

    For root these are root's files in a folder of another user. For any other user they are files and folders that this
    user cannot use. The text has the command that changes that.
    """
    databases, peppers = _databases(settings, services), _pepper(settings)
    folders = {file.absolute().parent for file in (*databases, *peppers)}
    closed = [one for one in sorted(folders) if one.is_dir() and not _is_usable(one, os.R_OK | os.W_OK | os.X_OK)]
    for folder in closed:
        yield _belongs(folder)
    if closed:
        return
    needed = dict.fromkeys(_present(databases), os.R_OK | os.W_OK)
    needed |= dict.fromkeys(filter(os.path.lexists, peppers), os.R_OK)
    for file, access in needed.items():
        if not _is_usable(file, access):
            yield _belongs(file)


def _is_usable(path: Path, access: int) -> bool:
    """Return whether the services can use a file or folder in the ways of os.access."""
    found, user = path.stat(), os.geteuid()
    if user != ROOT:
        return found.st_uid == user or os.access(path, access)
    # The bits of a mode are those of os.access, for the group three bits higher.
    return _user_of(path) == ROOT or found.st_uid != ROOT or bool(found.st_mode & (access << 3 | access))


def _user_of(path: Path) -> int:
    """Return the id of the user who needs a file or folder: the one of this process, or for root the folder's owner."""
    own = os.geteuid()
    if own != ROOT:
        return own
    return (path if path.is_dir() else path.absolute().parent).stat().st_uid


def _belongs(path: Path) -> Text:
    return english(
        "{file} belongs to {owner}, so that {user} cannot use it: as root, chown {user} {file}",
        file=path.absolute(),
        owner=_name(path.stat().st_uid),
        user=_name(_user_of(path)),
    )


def _databases(settings: Settings, services: Sequence[str]) -> list[Path]:
    return [file for service in services if (file := find_sqlite_file(settings.service(service).database_url))]


def _pepper(settings: Settings) -> list[Path]:
    """Return the file of the pepper if the node makes it by itself."""
    makes_own = settings.pepper_source.kind == "embedded" and find_sqlite_file(settings.results.database_url)
    return [settings.data_dir / "pepper"] if makes_own else []


def _present(databases: Sequence[Path]) -> list[Path]:
    """Return the files of databases that exist, with SQLite's files and the files of locks beside them."""
    found = [file for file in databases if file.is_file()]
    return found + [Path(one) for file in databases for one in glob.glob(f"{glob.escape(str(file))}-*")]


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _runner(user: int, group: int) -> str:
    """Return the command before which a command runs as a user. `runuser` knows users by their names alone."""
    name = _name(user)
    if name.isdecimal():
        return f"setpriv --reuid={user} --regid={group} --clear-groups"
    return f"runuser -u {name} --"
