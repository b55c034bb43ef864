"""Opening a service's database at start: the embedded one is migrated, a server's must have been."""

from __future__ import annotations

import asyncio
from functools import partial

from services.runtime.settings import Settings
from services.storage.engine import Database, open_database
from services.storage.migrate import is_current, upgrade


async def open_migrated(service: str, settings: Settings) -> Database:
    """Open a service's database.

    SQLite is migrated here and now. On a database server the operator migrates (`hutongd migrate`), since several
    processes share it and the time is theirs to choose; a server that is away, or behind, is no reason not to start:
    health stays NOT_SERVING until it is there and current.
    """
    url = settings.service(service).database_url
    database = open_database(url, partial(is_current, service))
    if database.is_sqlite:
        await asyncio.to_thread(upgrade, service, url)
    return database
