"""`hutongd restore`: after checks, puts the databases of a backup where there are none yet.

When a service opens a restored database, a new life of the database begins. Tokens of lost commits are therefore
recognised (docs/exchange.md, section 2). The exchange notices the restore at its next connection.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hutong_texts import english, tr
from hutong_texts.system import system_text

from services.command.audit import audit_of
from services.command.backup.files import copy_private, find_damage, read_schema, sync
from services.command.backup.manifest import PEPPER, CopiedDatabase, Manifest, hash_file, read_manifest
from services.command.backup.record import record_restore
from services.command.databases import check_pepper
from services.command.faults import advise
from services.domain.instant import Instant
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.connections import find_sqlite_file, make_directory
from services.storage.engine import open_database
from services.storage.errors import UnusableDatabase
from services.storage.migrate import find_newer_schema, upgrade
from services.storage.process_lock import try_sqlite_process_lock

_BESIDE = ("", "-wal", "-journal")
"""The endings of SQLite's files of a database, beside the database's own name. If a file with such a name exists, it
belongs to another database."""


def restore(settings: Settings, folder: Path, names: Sequence[str], now: Instant) -> str:
    """Restore the databases of services from a backup. Return lines for the operator.

    If several services are named, services that the backup lacks are left out. Everything is checked before the first
    database gets its name. Nothing that exists is replaced. Each database is migrated to this version's schema, and its
    audit gets a row that names the restore.

    Raises:
        BadSetting: the backup cannot be read, is another node's, or was made under another pepper.
        UnusableDatabase: a database exists already, is damaged, or was written by a newer version.
    """
    manifest = read_manifest(folder)
    chosen = [one for one in manifest.databases if one.service in names]
    if not chosen:
        raise BadSetting(english("{folder}: the backup does not have {service}", folder=folder, service=names[0]))
    if manifest.jurisdiction != settings.jurisdiction:
        raise BadSetting(
            english(
                "{folder} is a backup of node {other}, and HUTONG_JURISDICTION is {own}",
                folder=folder,
                other=manifest.jurisdiction,
                own=settings.jurisdiction,
            )
        )
    targets = [_target(settings, one.service) for one in chosen]
    for one in chosen:
        _check_copy(folder, one)
    try:
        with contextlib.ExitStack() as held:
            _hold_serving(settings, [one.service for one in chosen], held)
            _restore_pepper(settings, folder, manifest)
            drafts = [
                _prepare(settings, folder, manifest, one, held.enter_context(_draft_beside(target)), now)
                for one, target in zip(chosen, targets, strict=True)
            ]
            for draft, target in zip(drafts, targets, strict=True):
                _place(draft, target)
    except OSError as error:
        raise UnusableDatabase(
            english(
                "the databases cannot be restored: {cause}; {advice}", cause=system_text(error), advice=advise(error)
            )
        ) from None
    return "\n".join(_lines(manifest, chosen, targets))


def _target(settings: Settings, service: str) -> Path:
    """Return the file to restore.

    Raises:
        UnusableDatabase: the file exists, or the service's database is on a server.
    """
    file = find_sqlite_file(settings.service(service).database_url)
    if file is None:
        raise UnusableDatabase(
            english("the database of {service} is on a server: restore it there (docs/backup.md)", service=service)
        )
    for suffix in _BESIDE:
        beside = Path(f"{file}{suffix}")
        if beside.exists():
            raise UnusableDatabase(
                english("{file} exists: stop the service and move it away with its -wal file", file=beside)
            )
    return file


def _check_copy(folder: Path, copied: CopiedDatabase) -> None:
    file = folder / copied.file
    try:
        is_whole = file.stat().st_size == copied.size and hash_file(file) == copied.sha256
    except OSError as error:
        raise BadSetting(
            english(
                "{file} cannot be read: {cause}; take another backup, or run it as the user of the services",
                file=file,
                cause=system_text(error),
            )
        ) from None
    if not is_whole:
        raise UnusableDatabase(english("{file} is not what was backed up: take another backup", file=file))
    if fault := find_damage(file):
        raise UnusableDatabase(english("{file} is damaged: {fault}: take another backup", file=file, fault=fault))
    if newer := find_newer_schema(copied.service, {read_schema(file, copied.service)}):
        raise UnusableDatabase(english("{file}: {fault}", file=file, fault=newer))


def _hold_serving(settings: Settings, services: Sequence[str], held: contextlib.ExitStack) -> None:
    """Keep Results from being served until the restore ends. Raises UnusableDatabase if a process serves it now.

    Such a process may still use the file of the old database, although the file was moved away.
    """
    if "results" in services:
        is_held = held.enter_context(try_sqlite_process_lock(settings.results.database_url, "serving"))
        if not is_held:
            raise UnusableDatabase(english("Results is being served: stop it before the restore"))


def _restore_pepper(settings: Settings, folder: Path, manifest: Manifest) -> None:
    """Give an embedded node the pepper of the backup.

    Raises:
        BadSetting: the node would make a new pepper, with which no subject of the backup would be found.
    """
    file = settings.data_dir / "pepper"
    if settings.pepper_source.kind != "embedded" or file.exists():
        return
    if not manifest.has_pepper:
        raise BadSetting(
            english("the pepper is not in the backup: put it to {file} first, for its owner alone", file=file)
        )
    make_directory(settings.data_dir)
    copy_private(folder / PEPPER, file)
    sync(settings.data_dir)


@contextlib.contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    """Make a folder beside the target, and remove it after the block. A link can then give a finished file its name."""
    make_directory(target.absolute().parent)
    folder = Path(tempfile.mkdtemp(prefix=".restore-", dir=target.absolute().parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(
    settings: Settings, folder: Path, manifest: Manifest, copied: CopiedDatabase, draft: Path, now: Instant
) -> Path:
    """Copy a database, check its pepper, migrate it, and record the restore in its audit. Return the copy."""
    file, service = draft / copied.file, copied.service
    copy_private(folder / copied.file, file)
    url = f"sqlite:///{file}"
    upgrade(service, url)
    database = open_database(url)
    try:
        database.read_now(check_pepper, settings, service)
        record_restore(database, audit_of(settings, service), settings.jurisdiction, now, manifest.name)
    finally:
        database.close()
    sync(file)
    return file


def _place(draft: Path, target: Path) -> None:
    """Give a finished file its name. Raises UnusableDatabase if the name is taken by now."""
    if Path(f"{draft}-wal").exists():
        raise UnusableDatabase(english("{file} is in use by another program", file=draft))
    try:
        os.link(draft, target)
    except FileExistsError:
        raise UnusableDatabase(
            english("{file} exists: stop the service and move it away with its -wal file", file=target)
        ) from None
    sync(target.absolute().parent)


def _lines(manifest: Manifest, chosen: Sequence[CopiedDatabase], targets: Sequence[Path]) -> Iterator[str]:
    for one, target in zip(chosen, targets, strict=True):
        yield tr(
            "{service}: restored to {file}, as it was at {time}", service=one.service, file=target, time=one.copy_time
        )
    missing = [one.service for one in manifest.databases if one not in chosen]
    if missing:
        yield tr("in the backup and not restored: {services}", services=", ".join(missing))
    yield tr("Start the services, and put legal holds again that were put since. Only then run a purge again")
