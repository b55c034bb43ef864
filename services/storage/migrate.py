"""Bringing a service's database to its newest schema by Alembic."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, exc

import migrations
from services.domain.errors import Unavailable
from services.storage.unusable import UnusableDatabase

SERVICES = ("results", "policy", "verification")


def alembic_config(service: str, url: str | None = None) -> Config:
    """Alembic's configuration for one service's tree; `url` overrides the environment's."""
    root = Path(migrations.__file__).parent
    config = Config(str(root / "alembic.ini"), ini_section=service)
    config.set_section_option(service, "script_location", str(root))
    config.set_section_option(service, "version_locations", str(root / service / "versions"))
    if url is not None:
        config.attributes["url"] = url
    return config


def upgrade(service: str, url: str, revision: str = "head") -> None:
    """Migrate a database up. Several processes may call it at once: one migrates, the others wait and find it done.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, it cannot be reached, or a table was in use for too long.
        UnusableDatabase: it is no database, or one of a newer version.
    """
    try:
        command.upgrade(alembic_config(service, url), revision)
    except exc.OperationalError as error:
        text = f"the database of {service} cannot be migrated now: {error.orig}"
        raise Unavailable("DATABASE_UNAVAILABLE", text) from error
    except (CommandError, exc.DatabaseError) as error:
        cause = error.orig if isinstance(error, exc.DatabaseError) else error
        raise UnusableDatabase(f"the database of {service} cannot be used: {cause}") from error


def downgrade(service: str, url: str, revision: str) -> None:
    """Migrate a database down, for tests and for the operator who must."""
    command.downgrade(alembic_config(service, url), revision)


def version_table(service: str) -> str:
    """Where a service keeps its schema's revision; the three may share one PostgreSQL database."""
    return f"alembic_version_{service}"


@cache
def _heads(service: str) -> frozenset[str]:
    return frozenset(ScriptDirectory.from_config(alembic_config(service)).get_heads())


def is_current(service: str, connection: Connection) -> bool:
    """Whether the database's schema is the one this code was written for."""
    context = MigrationContext.configure(connection, opts={"version_table": version_table(service)})
    return frozenset(context.get_current_heads()) == _heads(service)
