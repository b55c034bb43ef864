"""Tests of Policy's revision 0004 and Verification's 0003: a request id that was used before them is still known."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from services.storage.engine import open_database
from services.storage.migrate import downgrade, upgrade
from tests.support.databases import PostgresServer

METHODS = {
    "policy": ("0003", ["PublishPolicy", "WithdrawPolicy"]),
    "verification": ("0002", ["AnswerRefusal", "ReportRefusal"]),
}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("service", METHODS)
def test_request_ids_are_stored_under_the_request_message(
    service: str, engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The names change with the upgrade, and back with the downgrade."""
    server = request.getfixturevalue("postgres_server") if engine == "postgresql" else None
    url = server.make_empty() if isinstance(server, PostgresServer) else f"sqlite:///{tmp_path / 'memory.db'}"
    before, methods = METHODS[service]
    upgrade(service, url, before)
    database = open_database(url)
    insert = text(f"INSERT INTO {service}_request_memory VALUES (:method, 'id', :content, :response, 1)")
    with database.engine.begin() as connection:
        for method in methods:
            connection.execute(insert, {"method": method, "content": b"c" * 32, "response": b"r"})

    def stored() -> list[str]:
        query = text(f"SELECT method FROM {service}_request_memory ORDER BY method")
        with database.engine.begin() as connection:
            return list(connection.execute(query).scalars())

    upgrade(service, url)
    assert stored() == [f"{method}Request" for method in methods]
    downgrade(service, url, before)
    assert stored() == methods
    database.close()
