"""Checks that other users can neither read a node's secrets and databases nor change its access rules."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from hutong_texts import Text, english

from services.runtime.certificates import find_open_tls_files
from services.runtime.configuration.open_files import find_open_rules, find_open_secret, is_open
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.connections import find_sqlite_file


def check_private_files(settings: Settings, services: Sequence[str]) -> None:
    """Check the files and folders that these services use. Files that do not exist yet will be made private.

    Raises:
        BadSetting: other users may use such a file or folder. The text has the command that makes it private.
    """
    for fault in find_open_files(settings, services):
        raise BadSetting(fault)


def find_open_files(settings: Settings, services: Sequence[str]) -> Iterator[Text]:
    """Yield a text for each file or folder that other users may use. The text has the command that makes it private.

    A secret may be readable by its group, because systems hand secrets to a service in this way. The data folder is
    only for its owner. Everything in a folder that other users cannot enter is private.
    """
    for setting, secret in (
        ("HUTONG_PEPPER_FILE", settings.pepper_file),
        ("HUTONG_PEPPER_OTHER_FILE", settings.pepper_other_file),
    ):
        if secret is not None and (fault := find_open_secret(setting, secret)):
            yield fault
    yield from find_open_tls_files(settings.tls)
    for setting, rules in (
        ("HUTONG_TOKEN_KEYS_FILE", settings.token_keys_file),
        ("HUTONG_DENY_FILE", settings.deny_file),
        ("HUTONG_ACCESS_FILE", settings.access_file),
    ):
        if rules is not None and (fault := find_open_rules(setting, rules)):
            yield fault
    files = [file for service in services if (file := find_sqlite_file(settings.service(service).database_url))]
    folder = settings.data_dir
    is_embedded = settings.pepper_source.kind == "embedded"
    keeps_pepper = is_embedded and find_sqlite_file(settings.results.database_url) is not None
    is_used = keeps_pepper or any(_is_inside(file, folder) for file in files)
    if is_used and folder.is_dir() and is_open(folder, stat.S_IRWXG | stat.S_IRWXO, stat.S_IXGRP | stat.S_IXOTH):
        yield english(
            "HUTONG_DATA_DIR: other users of this machine can use {folder}: chmod 700 {folder}", folder=folder
        )
    for file in files:
        if file.is_file() and not _is_inside(file, folder) and is_open(file, stat.S_IROTH | stat.S_IWOTH, stat.S_IXOTH):
            yield english("every user of this machine can use the database {file}: chmod o-rwx {file}", file=file)


def _is_inside(file: Path, folder: Path) -> bool:
    return file.absolute().parent == folder.absolute()
