"""Tests of Verification's revision 0018: nodes exchange a refusal that was reported before they exchanged any."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import MetaData, Table, select, text

from services.storage.engine import open_database
from services.storage.migrate import upgrade
from services.verification.refusal_exchange.convert import refusal_to_message
from services.verification.refusals.rows import from_row
from services.verification.refusals.tables import refusals
from tests.support.databases import PostgresServer

VALUES: dict[str, object] = {"grounds": 2, "forbidden_grounds": 2, "region": "410105", "purpose": 4}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_report_of_the_release_before_is_sent(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One report is stored before the upgrade, and one after it by a process of the previous release."""
    server = request.getfixturevalue("postgres_server") if engine == "postgresql" else None
    url = server.make_empty() if isinstance(server, PostgresServer) else f"sqlite:///{tmp_path / 'refusals.db'}"
    upgrade("verification", url, "0013")
    database = open_database(url)
    before = Table("refusals", MetaData(), autoload_with=database.engine)
    required = {
        column.name: b"" if column.type.python_type is bytes else "" if column.type.python_type is str else 0
        for column in before.columns
        if not column.nullable
    }

    def store(uuid: str) -> None:
        with database.engine.begin() as connection:
            known = {name: value for name, value in VALUES.items() if name in before.columns}
            connection.execute(before.insert().values(required | known | {"uuid": uuid}))

    store("01a22aa6-0000-7000-8000-000000000001")
    upgrade("verification", url)
    store("01a22aa6-0000-7000-8000-000000000002")
    with database.engine.begin() as connection:
        connection.execute(
            text("UPDATE refusals SET origin_node = '410000', responsible_node = '410000', assess_node = '410000'")
        )
        found = [from_row(row) for row in connection.execute(select(refusals))]
    assert [len(refusal_to_message(one, "410000", to_above=False).evidence) for one in found] == [0, 0]
    database.close()
