"""A process that runs before the migration of its version, as in a rolling upgrade."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, exc, text

from services.domain.errors import Unavailable
from services.results.timeliness.delays import record_delays
from services.storage.engine import open_database
from services.storage.schema.fit import SchemaFit
from tests.support.databases import MakeUrl
from tests.support.results.factories import HOUR, NOW, USCC


def read_last_uploads(connection: Connection) -> Sequence[object]:
    return connection.execute(text("SELECT lab FROM last_uploads")).all()


def upload(connection: Connection) -> None:
    record_delays(connection, USCC, [NOW - HOUR], NOW)


async def test_an_upload_needs_no_table_of_this_version(postgres_url: MakeUrl) -> None:
    """Calls that need this version's schema are UNAVAILABLE until the migration, and never an unexpected error."""
    fit = SchemaFit.OLDER
    with contextlib.closing(open_database(postgres_url("results"), lambda _: fit)) as database:
        await database.write(lambda connection: connection.execute(text("ALTER TABLE last_uploads RENAME TO later")))
        await database.write(upload)
        for doing in (database.read, database.write):
            with pytest.raises(Unavailable, match="hutongd migrate"):
                await doing(read_last_uploads)
        await database.check()
        await database.write(lambda connection: connection.execute(text("ALTER TABLE later RENAME TO last_uploads")))
        fit = SchemaFit.CURRENT
        await database.check()
        await database.write(upload)
        assert len(await database.read(read_last_uploads)) == 1
        with pytest.raises(exc.ProgrammingError):
            await database.read(lambda connection: connection.execute(text("SELECT 1 FROM nowhere")))
