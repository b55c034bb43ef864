"""Tests that renamed tables and columns of Policy and Verification keep their rows, up and down."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, text

from services.storage.connections import create_service_engine
from services.storage.migrate import downgrade, upgrade
from tests.support.databases import PostgresServer


class Rename(NamedTuple):
    """A table or column before and after a revision, with a row of the table before it."""

    service: str
    before: str
    old: tuple[str, str]
    new: tuple[str, str]
    row: dict[str, object]


RENAMES = [
    Rename(
        "policy",
        "0004",
        ("upstream_places", "as_of_time"),
        ("upstream_positions", "as_of_time"),
        {"region": "000000", "cursor": "c7", "as_of_time": 7},
    ),
    Rename(
        "verification",
        "0003",
        ("decisions", "person_key"),
        ("decisions", "subject_tag"),
        {"uuid": "u", "evaluate_time": 7, "decision": b"d", "inputs": b"i", "person_key": b"k" * 16, "key_version": 1},
    ),
    Rename(
        "verification",
        "0003",
        ("refusals", "judgement"),
        ("refusals", "assessment"),
        {
            "uuid": "u",
            "region": "410105",
            "venue": "",
            "purpose": 1,
            "refuse_time": 7,
            "grounds": 2,
            "forbidden_grounds": 2,
            "decision": "",
            "judgement": 3,
            "statement": "",
            "key_version": 1,
            "create_time": 7,
            "answer": "",
        },
    ),
]


def read(engine: Engine, name: tuple[str, str]) -> object:
    """Return the column of the only row."""
    table, column = name
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT {column} FROM {table}")).scalar_one()


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
@pytest.mark.parametrize("rename", RENAMES, ids=lambda rename: ".".join(rename.new))
def test_a_row_is_read_under_its_new_name(
    rename: Rename, engine_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The row is also there under its old name after a downgrade."""
    server = request.getfixturevalue("postgres_server") if engine_name == "postgresql" else None
    url = server.make_empty() if isinstance(server, PostgresServer) else f"sqlite:///{tmp_path / 'renamed.db'}"
    upgrade(rename.service, url, rename.before)
    engine = create_service_engine(url)
    columns, values = ", ".join(rename.row), ", ".join(f":{column}" for column in rename.row)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {rename.old[0]} ({columns}) VALUES ({values})"), rename.row)
    before = read(engine, rename.old)
    engine.dispose()
    upgrade(rename.service, url)
    assert read(engine, rename.new) == before
    engine.dispose()
    downgrade(rename.service, url, rename.before)
    assert read(engine, rename.old) == before
    engine.dispose()
