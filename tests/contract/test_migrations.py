"""A migration changes nothing that the previous release needs, unless its docstring says why it may."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.storage.schema.fit import OLDEST_SERVED

ROOT = Path(__file__).parents[2]
MIGRATIONS = sorted((ROOT / "migrations").glob("*/versions/*.py"))
OLDEST = {"results": "0032", "policy": "0016", "verification": "0014"}
"""The first revision of each service that the rule holds for. Nothing ran in production before."""
NOTE = re.compile(r"^Contract: \S", re.MULTILINE)
"""The line of a docstring that names the release since which nothing needs what the migration takes away."""
SQL = re.compile(r"\bRENAME\b|\bDROP (?:TABLE|COLUMN)\b|\bSET NOT NULL\b")
"""Finds statements in plain SQL that remove or narrow something."""
TAKING = {"drop_table", "drop_column", "rename_table"}
NARROWING = {"create_unique_constraint", "create_check_constraint", "create_foreign_key", "create_primary_key"}


def is_true(call: ast.Call, name: str, *, default: bool) -> bool:
    """Return the value of a keyword of a call that is written as True or False."""
    given = next((one.value for one in call.keywords if one.arg == name), None)
    return bool(given.value) if isinstance(given, ast.Constant) else default


def has(call: ast.Call, name: str) -> bool:
    return any(one.arg == name for one in call.keywords)


def faults(source: str) -> Iterator[str]:
    """Yield what a migration does on its way up that processes of the previous release might not bear."""
    up = [
        node for node in ast.parse(source).body if not (isinstance(node, ast.FunctionDef) and node.name == "downgrade")
    ]
    for node in (inner for outer in up for inner in ast.walk(outer)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := SQL.search(node.value)):
            yield f"{node.lineno}: {found[0]}"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        if name in TAKING | NARROWING:
            yield f"{node.lineno}: {name}"
        elif name == "alter_column" and has(node, "new_column_name"):
            yield f"{node.lineno}: renames a column"
        elif name == "alter_column" and not is_true(node, "nullable", default=True):
            yield f"{node.lineno}: a column that must have a value from now on"
        elif name == "add_column":
            (column,) = (one for one in node.args if isinstance(one, ast.Call))
            if not is_true(column, "nullable", default=True) and not has(column, "server_default"):
                yield f"{node.lineno}: a column that the release before does not fill"


def test_the_rule_holds_since_the_release_before() -> None:
    """Every migration after the schema of OLDEST_SERVED keeps the rule, because this version runs on that schema."""
    for service, served in OLDEST_SERVED.items():
        first = min(path.stem[:4] for path in MIGRATIONS if path.parts[-3] == service and path.stem[:4] > served)
        assert OLDEST[service] <= first


def named(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


@pytest.mark.parametrize("path", [path for path in MIGRATIONS if path.stem[:4] >= OLDEST[path.parts[-3]]], ids=named)
def test_a_migration_takes_nothing_from_the_release_before(path: Path) -> None:
    """The steps expand, backfill and contract are in CONTRIBUTING.md. A note in the docstring permits the last one."""
    source = path.read_text(encoding="utf-8")
    if not NOTE.search(ast.get_docstring(ast.parse(source)) or ""):
        assert list(faults(source)) == [], 'see "Deployability" in CONTRIBUTING.md'


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('op.drop_table("labs")', "drop_table"),
        ('op.execute("ALTER TABLE labs RENAME TO registers")', "RENAME"),
        ('op.execute("ALTER TABLE labs ALTER COLUMN contact SET NOT NULL")', "SET NOT NULL"),
        ('op.rename_table("labs", "registers")', "rename_table"),
        ('batch.drop_column("contact")', "drop_column"),
        ('batch.alter_column("contact", new_column_name="phone")', "renames a column"),
        ('batch.alter_column("contact", nullable=False)', "must have a value"),
        ('batch.add_column(sa.Column("home", sa.String(length=6), nullable=False))', "does not fill"),
        ('batch.create_unique_constraint("uq", ["a"])', "create_unique_constraint"),
        ('batch.add_column(sa.Column("home", sa.String(length=6), nullable=False, server_default=""))', ""),
        ('batch.add_column(sa.Column("home", sa.String(length=6)))', ""),
        ('op.create_table("a", sa.Column("b", sa.Integer(), nullable=False))', ""),
    ],
)
def test_what_the_rule_finds(line: str, fault: str) -> None:
    """Every change that takes or narrows something is found. What only adds is not."""
    found = list(faults(f"def upgrade():\n    {line}\n"))
    assert [fault in one for one in found] == ([True] if fault else [])


def test_the_rule_finds_older_migrations() -> None:
    """Migrations from before the rule contain renames and dropped columns, so the rule is tried on real files."""
    assert any(list(faults(path.read_text(encoding="utf-8"))) for path in MIGRATIONS)
