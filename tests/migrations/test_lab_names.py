"""Revision 0011 of Results: laboratories that were registered before are found by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from services.results.labs.model import LabQuery
from services.results.labs.queries import fill_normal_names, find_by_names, list_labs
from services.storage.engine import open_database
from services.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.results.factories import LABS, NOW, OTHER_USCC, USCC

THIRD_USCC = LABS["370000"]
INSERT = text(
    "INSERT INTO labs (uscc, display_name, region, contact, create_time) VALUES (:uscc, :name, '220500', '', :now)"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a database of revision 0010."""
    made = f"sqlite:///{tmp_path / 'labs.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        made = server.make_empty()
    upgrade("results", made, "0010")
    return made


async def test_registered_laboratories_get_the_normal_form_of_their_names(url: str) -> None:
    database = open_database(url)
    try:

        def register(connection: Connection) -> None:
            for uscc, name in ((USCC, "通化 第一检验所"), (OTHER_USCC, "通化第二检验所")):
                connection.execute(INSERT, {"uscc": uscc, "name": name, "now": NOW})

        await database.write(register)
        upgrade("results", url)
        assert await database.read(find_by_names, ["通化第一检验所", "第一检验所"]) == {"通化第一检验所": [USCC]}
        found = await database.read(list_labs, LabQuery(normal_prefix="通化第"), "", 10)
        assert {lab.uscc for lab in found} == {USCC, OTHER_USCC}

        # A process of before the revision registers one more. The next start of a service stores what is lacking.
        late = {"uscc": THIRD_USCC, "name": "通化第三检验所", "now": NOW}
        await database.write(lambda connection: connection.execute(INSERT, late) and None)
        assert await database.read(find_by_names, ["通化第三检验所"]) == {}
        assert await database.write(fill_normal_names) == 1
        assert await database.read(find_by_names, ["通化第三检验所"]) == {"通化第三检验所": [THIRD_USCC]}
        assert await database.write(fill_normal_names) == 0
    finally:
        database.close()
