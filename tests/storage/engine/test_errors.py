"""An unusable database ends the command with one line and exit code 2, not with a traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from services.__main__ import EXIT_USAGE
from tests.support.processes import hutongd


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("serve", "no file"),
        ("serve", "no directory"),
        ("serve", "no database"),
        ("serve", "a newer one"),
        ("migrate", "a newer one"),
    ],
)
def test_the_error_says_what_the_operator_has_to_change(command: str, what: str, tmp_path: Path) -> None:
    text, newer = tmp_path / "text", tmp_path / "newer.db"
    text.write_text("no database " * 100)
    connection = sqlite3.connect(newer)
    connection.execute("CREATE TABLE alembic_version_policy (version_num VARCHAR(32) NOT NULL)")
    connection.execute("INSERT INTO alembic_version_policy VALUES ('9999')")
    connection.commit()
    connection.close()
    urls = {
        "no file": "sqlite://",
        "no directory": f"sqlite:///{text}/policy.db",
        "no database": f"sqlite:///{text}",
        "a newer one": f"sqlite:///{newer}",
    }
    settings = {"data_dir": str(tmp_path), "policy_database_url": urls[what], "policy_address": "127.0.0.1:0"}
    ended = hutongd(command, "policy", **settings)
    said = ended.stderr.splitlines()[-1]
    assert ended.returncode == EXIT_USAGE, ended.stderr
    assert said.startswith("hutongd: ")
    assert "database" in said.lower()
