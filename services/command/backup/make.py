"""`hutongd backup`: copies the SQLite databases of a node while its services run."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hutong_texts import english, tr
from hutong_texts.system import system_text
from sqlalchemy import exc

from services.command.backup.files import copy_database, copy_private, find_damage, read_schema, sync, write_private
from services.command.backup.manifest import MANIFEST, PEPPER, CopiedDatabase, Manifest, hash_file
from services.command.databases import check_pepper
from services.command.faults import advise
from services.command.version import find_version
from services.domain.instant import Instant, format_instant
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.connections import create_inspecting_engine, find_sqlite_file
from services.storage.errors import UnusableDatabase


def back_up(settings: Settings, names: Sequence[str], folder: Path, *, with_pepper: bool) -> str:
    """Copy the databases of services into a new folder in `folder`. Return lines for the operator.

    The folder gets its name once the backup is complete. A folder with the name of a backup is therefore always
    complete. If several services are named, services whose database is not on this machine are left out.

    Raises:
        BadSetting: the folder cannot be written, the pepper is in no file, or it is not the pepper of the databases.
        UnusableDatabase: a database is on a server, is missing, or is damaged.
    """
    files = dict(_sqlite_files(settings, names))
    pepper = _find_pepper(settings) if with_pepper else None
    name = f"hutong-{settings.jurisdiction}-{_compact(SystemClock().now())}"
    draft = folder / f".{name}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
        try:
            databases = [_copy(service, file, draft) for service, file in files.items()]
            if pepper is not None:
                for one in databases:
                    _check_pepper(settings, one, draft)
                copy_private(pepper, draft / PEPPER)
            manifest = Manifest(name, *find_version(), settings.jurisdiction, pepper is not None, databases)
            write_private(draft / MANIFEST, manifest.to_json())
            sync(draft)
            draft.rename(folder / name)
            sync(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise BadSetting(
            english(
                "the backup cannot be written to {folder}: {cause}; {advice}",
                folder=folder,
                cause=system_text(error),
                advice=advise(error),
            )
        ) from None
    return "\n".join(_lines(folder / name, manifest, [one for one in names if one not in files]))


def _sqlite_files(settings: Settings, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    found = False
    for name in names:
        file = find_sqlite_file(settings.service(name).database_url)
        if file is None:
            raise UnusableDatabase(
                english(
                    "the database of {service} is on a server: back it up with the server's tools "
                    "(docs/backup.md section 3), and name the services on SQLite",
                    service=name,
                )
            )
        if file.is_file():
            found = True
            yield name, file
        elif len(names) == 1:
            raise UnusableDatabase(
                english("there is no database of {service} at {file}: check HUTONG_DATA_DIR", service=name, file=file)
            )
    if not found:
        raise UnusableDatabase(english("none of the databases is on this machine: check HUTONG_DATA_DIR"))


def _find_pepper(settings: Settings) -> Path:
    """Return the file of the pepper.

    Raises:
        BadSetting: the pepper does not come from a file, or was not made yet.
    """
    source = settings.pepper_source
    if source.kind not in {"file", "embedded"}:
        raise BadSetting(
            english("--with-pepper copies a file, and this pepper comes from a {kind}: keep it there", kind=source.kind)
        )
    file = source.file or settings.data_dir / "pepper"
    if not file.is_file():
        raise BadSetting(english("--with-pepper: there is no file {file}", file=file))
    return file


def _copy(service: str, file: Path, draft: Path) -> CopiedDatabase:
    copy, now = draft / f"{service}.db", SystemClock().now()
    try:
        copy_database(file, copy)
    except sqlite3.DatabaseError as error:
        raise UnusableDatabase(
            english(
                "the database of {service} cannot be copied: {cause}; check its path, or restore a backup",
                service=service,
                cause=str(error),
            )
        ) from None
    if fault := find_damage(copy):
        raise UnusableDatabase(
            english("the database of {service} is damaged: {fault}: restore a backup", service=service, fault=fault)
        )
    schema = read_schema(copy, service)
    if not schema:
        raise UnusableDatabase(english("{file} is no database of {service}", file=file, service=service))
    return CopiedDatabase(service, schema, copy.stat().st_size, hash_file(copy), format_instant(now))


def _check_pepper(settings: Settings, copied: CopiedDatabase, draft: Path) -> None:
    """Check that a copied database was filled under the pepper that the backup contains.

    A copy without marks is checked by the restore, because the restore migrates the copy.
    """
    engine = create_inspecting_engine(f"sqlite:///{draft / copied.file}")
    try:
        with engine.connect() as connection, contextlib.suppress(exc.OperationalError):
            check_pepper(connection, settings, copied.service)
    finally:
        engine.dispose()


def _lines(path: Path, manifest: Manifest, absent: Sequence[str]) -> Iterator[str]:
    yield str(path)
    for one in manifest.databases:
        yield tr("  {service}: schema {schema}, {size:,} bytes", service=one.service, schema=one.schema, size=one.size)
    for service in absent:
        yield tr("  {service}: not in it, because its database is not on this machine", service=service)
    if manifest.has_pepper:
        yield tr("The pepper is in it. Whoever can read the folder can read everything: keep it accordingly.")
    else:
        yield tr("The pepper is not in it. Keep it apart: without it the databases are of no use.")


def _compact(now: Instant) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now)).strftime("%Y%m%dT%H%M%S%fZ")
