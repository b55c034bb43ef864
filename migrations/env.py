"""Runs the migrations of one service, under a lock and with timeouts. Then builds the indexes that are built online.

The section of alembic.ini names the service. The database is the one that `services.storage.migrate` passes in, or else
the one that the service's HUTONG_*_DATABASE_URL names.
"""

from __future__ import annotations

import importlib
import os

from alembic import context
from sqlalchemy import Connection, MetaData, text

from services.results.distribution import distribute
from services.runtime.configuration.settings import Settings
from services.storage.advisory_locks import migration_lock
from services.storage.connections import create_service_engine
from services.storage.migrate import version_table
from services.storage.schema.online_indexes import build_missing

LOCK_TIMEOUT = "5s"
"""How long a migration waits for a table lock. After this time the migration fails, because the services' queries queue
behind it. Run the migration again."""
STATEMENT_TIMEOUT = "15min"
"""The longest that one statement of a migration may run."""

service = context.config.config_ini_section
metadata: MetaData = importlib.import_module(f"services.{service}.tables").metadata


def database_url() -> str:
    given = context.config.attributes.get("url")
    if given:
        return str(given)
    return Settings.from_environment(os.environ).service(service).database_url


def migrate_under_lock(connection: Connection) -> None:
    # One transaction begins before Alembic reads the database's revision and covers all migrations. A second migrator
    # waits here, and a migration that fails half way leaves nothing behind.
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            # The wait for another migrator has no limit. The later waits for table locks have a limit.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migration_lock(service)})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
        migrate(connection)


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=version_table(service),
        render_as_batch=connection.dialect.name == "sqlite",
        include_object=belongs_to_service,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        if service == "results":
            distribute(connection)


def has_newest_schema() -> bool:
    """Return whether the database now has every table and column of this version."""
    return set(context.get_context().get_current_heads()) == set(context.script.get_heads())


def belongs_to_service(_object: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    """Exclude tables outside the service's metadata: partitions, and other services' tables in a shared database."""
    return not (kind == "table" and reflected and name not in metadata.tables)


engine = create_service_engine(database_url())
try:
    with engine.connect().execution_options(hutong_write=True) as open_connection:
        migrate_under_lock(open_connection)
        is_newest = has_newest_schema()
finally:
    engine.dispose()
if is_newest and engine.dialect.name == "postgresql":
    build_missing(database_url(), metadata)
