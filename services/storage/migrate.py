"""Migrates a service's database with Alembic, and opens it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from hutong_texts import Text, english
from sqlalchemy import Connection, Select, String, column, exc, select, table

from services.domain.errors import Unavailable
from services.runtime.configuration.settings import Settings
from services.storage.connections import create_inspecting_engine, find_sqlite_file
from services.storage.engine import Database, open_database
from services.storage.errors import UnusableDatabase, is_broken_off
from services.storage.schema.fit import OLDEST_SERVED, SchemaFit

SERVICES = ("results", "policy", "verification")
_REFUSED_PASSWORD = ("authentication failed", "no password supplied")
"""Texts of PostgreSQL and libpq about a role that may not connect. Errors of connecting have no code."""
UPGRADE_TRIES = 5
"""How often a migration is tried if every attempt ends in a deadlock."""

_log = structlog.get_logger(__name__)


def alembic_config(service: str, url: str | None = None) -> Config:
    """Return Alembic's configuration for one service's migrations. `url` overrides the URL of the environment."""
    root = Path(str(files("migrations")))
    config = Config(str(root / "alembic.ini"), ini_section=service)
    config.set_section_option(service, "script_location", str(root))
    config.set_section_option(service, "version_locations", str(root / service / "versions"))
    if url is not None:
        config.attributes["url"] = url
    return config


def upgrade(service: str, url: str, revision: str = "head") -> None:
    """Migrate a database up. If several processes call this at once, one of them migrates and the others wait.

    All migrations are one transaction, which locks tables in another order than services do. PostgreSQL may therefore
    end the transaction because of a deadlock with a service. Then nothing is migrated, and the transaction is tried
    again.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached, or a table was in use for too long.
        UnusableDatabase: the file is no database, or a newer version has written it.
    """
    try:
        _run_migrations(service, url, revision)
    except exc.OperationalError as error:
        if _is_unusable_file(error):
            raise UnusableDatabase(_unusable(service, error)) from error
        text = english(
            "the database of {service} cannot be migrated now: {orig}; {advice}",
            service=service,
            orig=_one_line(error.orig),
            advice=_advise(service, error),
        )
        raise Unavailable("DATABASE_UNAVAILABLE", text) from error
    except exc.DatabaseError as error:
        raise UnusableDatabase(_unusable(service, error)) from error
    except CommandError as error:
        newer = find_schema_fault(service, url) or _one_line(error)
        raise UnusableDatabase(
            english("the database of {service} cannot be used: {orig}", service=service, orig=newer)
        ) from error


def _run_migrations(service: str, url: str, revision: str) -> None:
    """Run all migrations in one transaction. After a deadlock, try again."""
    for tries_left in reversed(range(UPGRADE_TRIES)):
        try:
            command.upgrade(alembic_config(service, url), revision)
        except exc.OperationalError as error:
            if not tries_left or not is_broken_off(error):
                raise
            _log.warning("the migration is tried again after a deadlock", service=service)
        else:
            return


def _unusable(service: str, error: exc.DBAPIError) -> Text:
    return english(
        "the database of {service} cannot be used: {orig}; {advice}",
        service=service,
        orig=_one_line(error.orig),
        advice=_advise(service, error),
    )


def _advise(service: str, error: exc.DBAPIError) -> Text:
    """Return what an operator should do about an error of a database."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    variable = f"HUTONG_{service.upper()}_DATABASE_URL"
    if code == sqlite3.SQLITE_FULL:
        return english("free some space on its disk")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return english("restore a backup, or name another file")
    if code == sqlite3.SQLITE_BUSY:
        return english("stop the process that uses it, or try again")
    if code:
        return english("check its path, its permissions and the limit of open files (ulimit -n)")
    if any(one in str(error.orig) for one in _REFUSED_PASSWORD):
        return english("correct the role or the password in {variable} or in its passfile", variable=variable)
    if "read-only" in str(error.orig):
        return english("this server takes no writes, as a standby: name the primary in {variable}", variable=variable)
    if getattr(error.orig, "sqlstate", None) is None:
        return english("start the server, or correct {variable}", variable=variable)
    return english("try again, or give the role of {variable} the rights that it lacks", variable=variable)


def _one_line(cause: object) -> str:
    return " ".join(str(cause).split())


def _is_unusable_file(error: exc.DBAPIError) -> bool:
    """Return whether SQLite cannot open or write the file. Another attempt would then fail too."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL}


def find_schema_fault(service: str, url: str) -> Text:
    """Return why this version cannot use a database; empty if it can. Nothing is created or written.

    A SQLite file that does not exist is a fault here, although a start would create it.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, the database server cannot be reached.
    """
    file = find_sqlite_file(url)
    if file is not None and (missing := _find_missing(service, file)):
        return missing
    engine = create_inspecting_engine(url)
    try:
        with engine.connect() as connection:
            revisions = read_revisions(service, connection)
    except UnusableDatabase as error:
        return error.text
    except exc.OperationalError as error:
        advice = _advise(service, error)
        if _is_unusable_file(error):
            return english("{orig}; {advice}", orig=_one_line(error.orig), advice=advice)
        raise Unavailable(
            "DATABASE_UNAVAILABLE",
            english(
                "the database of {service} cannot be reached: {orig}; {advice}",
                service=service,
                orig=_one_line(error.orig),
                advice=advice,
            ),
        ) from error
    except exc.DatabaseError as error:
        return english(
            "it is no database of Hutong: {orig}; {advice}",
            orig=_one_line(error.orig),
            advice=_advise(service, error),
        )
    finally:
        engine.dispose()
    if revisions == _heads(service):
        return Text("")
    if newer := find_newer_schema(service, revisions):
        return newer
    if not revisions:
        return english("its schema is empty: run hutongd migrate {service}", service=service)
    return english(
        "its schema is {revisions}: run hutongd migrate {service}",
        revisions=", ".join(sorted(revisions)),
        service=service,
    )


def _find_missing(service: str, file: Path) -> Text:
    """Return why there is no SQLite file, and what to do; empty if there is one."""
    if file.is_file():
        return Text("")
    if file.exists():
        return english("{file} is no file: move it away, or change HUTONG_DATA_DIR", file=file)
    folder = next(one for one in file.absolute().parents if one.exists())
    if not folder.is_dir():
        return english("{folder} is no folder: move it away, or change HUTONG_DATA_DIR", folder=folder)
    return english("there is no database at {file}: hutongd migrate {service} makes it", file=file, service=service)


def find_newer_schema(service: str, revisions: Collection[str]) -> Text:
    """Return the fault if a newer version has written a database with these revisions; otherwise an empty text."""
    if not set(revisions) - _known(service):
        return Text("")
    return english(
        "a newer version wrote it (schema {revisions}): install that version", revisions=", ".join(sorted(revisions))
    )


def check_schema(service: str, url: str) -> None:
    """Check that a command can use a database. Raises UnusableDatabase or Unavailable."""
    if fault := find_schema_fault(service, url):
        raise UnusableDatabase(
            english("the database of {service} cannot be used: {fault}", service=service, fault=fault)
        )


def downgrade(service: str, url: str, revision: str) -> None:
    """Migrate a database down, for tests and for operators in an emergency."""
    command.downgrade(alembic_config(service, url), revision)


def version_table(service: str) -> str:
    """Return the name of the table with a service's schema revision. Services may share one PostgreSQL database."""
    return f"alembic_version_{service}"


@cache
def _heads(service: str) -> frozenset[str]:
    return frozenset(ScriptDirectory.from_config(alembic_config(service)).get_heads())


@cache
def _known(service: str) -> frozenset[str]:
    scripts = ScriptDirectory.from_config(alembic_config(service))
    return frozenset(one.revision for one in scripts.walk_revisions())


@cache
def _served(service: str) -> frozenset[str]:
    """Return the revisions of the schemas on which this version runs."""
    scripts = ScriptDirectory.from_config(alembic_config(service))
    return frozenset(one.revision for one in scripts.walk_revisions(OLDEST_SERVED[service], "heads"))


@cache
def _read_revisions(service: str) -> Select[Any]:
    # SQLAlchemy keeps a compiled form for each table object. Health reads the revision every few seconds for as long as
    # the process runs. With one statement for each service, the cache of compiled forms does not fill up.
    return select(column("version_num", String)).select_from(table(version_table(service)))


def find_fit(service: str, connection: Connection) -> SchemaFit:
    """Return how the database's schema fits this version.

    A migration changes nothing that the previous release needs (CONTRIBUTING.md, "Deployability"). During an upgrade,
    processes of the previous release therefore go on serving on the new schema until they are replaced. Processes of
    this version also run on the schema of the previous release.
    """
    revisions = read_revisions(service, connection)
    if revisions == _heads(service) or revisions - _known(service):
        return SchemaFit.CURRENT
    return SchemaFit.OLDER if revisions and revisions <= _served(service) else SchemaFit.UNFIT


def read_revisions(service: str, connection: Connection) -> frozenset[str]:
    """Return the revisions of the database's schema; none if it was never migrated."""
    if connection.dialect.name == "postgresql":
        # Inside a transaction, one failed statement would make all further statements fail.
        exists = connection.exec_driver_sql("SELECT to_regclass(%s) IS NOT NULL", (version_table(service),))
        if not exists.scalar_one():
            return frozenset()
    try:
        return frozenset(connection.execute(_read_revisions(service)).scalars())
    except exc.DBAPIError as error:
        if _is_missing_table(error):
            return frozenset()
        raise


def _is_missing_table(error: exc.DBAPIError) -> bool:
    """Return whether the table of revisions does not exist, because the database was never migrated."""
    return (
        isinstance(error.orig, psycopg.errors.UndefinedTable)
        or getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    )


async def open_migrated(service: str, settings: Settings) -> Database:
    """Open a service's database.

    A SQLite database is migrated at once. The operator chooses when to migrate a database server (`hutongd migrate`),
    because several processes share the server. The service starts even if the server is unavailable or has an old
    schema. On the schema of the previous release the service serves. On a still older schema, and without the server,
    health is NOT_SERVING until the server is available and migrated.

    Raises:
        UnusableDatabase: the SQLite file is no database, or a newer version has written it.
    """
    url = settings.service(service).database_url
    database = open_database(url, partial(find_fit, service))
    if database.is_sqlite:
        await asyncio.to_thread(upgrade, service, url)
    return database
