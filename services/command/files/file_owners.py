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
    """Yield a text for each file of the services that they cannot use, because it belongs to another user.

    For root these are root's files in a folder of another user. For any other user they are files that this user cannot
    use. The text has the command that changes that.
    """
    needed = dict.fromkeys(_present(_databases(settings, services)), os.R_OK | os.W_OK)
    needed |= dict.fromkeys(filter(os.path.lexists, _pepper(settings)), os.R_OK)
    for file, access in needed.items():
        found, user = file.stat(), os.geteuid()
        if user == ROOT:
            user = file.absolute().parent.stat().st_uid
            # The bits of a mode are those of os.access, for the group three bits higher.
            is_usable = user == ROOT or found.st_uid != ROOT or bool(found.st_mode & (access << 3 | access))
        else:
            is_usable = found.st_uid == user or os.access(file, access)
        if not is_usable:
            yield english(
                "{file} belongs to {owner}, so that {user} cannot use it: as root, chown {user} {file}",
                file=file.absolute(),
                owner=_name(found.st_uid),
                user=_name(user),
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
