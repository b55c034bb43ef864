"""A migration changes nothing that the previous release needs, unless its docstring says why it may.

A migration reads or writes no whole table on PostgreSQL, unless READERS says why no caller waits for long. All
migrations of a service are one transaction. A lock that one of them takes on a table is held until the last one has
ended, so callers wait for as long as a migration reads.
"""

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

READING_SQL = re.compile(
    r"^\s*(?:UPDATE|DELETE|INSERT|CREATE (?:UNIQUE )?INDEX(?! CONCURRENTLY))\b"
    r"|\bADD CONSTRAINT\b|\bSET NOT NULL\b|\bALTER COLUMN \S+ TYPE\b"
)
"""Finds statements in plain SQL that read or write every row of a table."""
FEW_REFUSALS = "reported refusals are few: people report them one by one"
READERS = {
    "policy-0016_exchange_policies_upwards": "a node has one position above it",
    "results-0035_keep_last_uploads": "it reads the counts of delays once, 0.2 to 0.5 s for each million",
    "results-0038_note_when_answers_are_stored": "the number of missing reports is limited",
    "verification-0014_state_who_answers_refusals": FEW_REFUSALS,
    "verification-0019_find_same_refusals_by_both_keys": FEW_REFUSALS,
}
"""The migrations that read a whole table, and why that takes little time."""


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


def reads(source: str) -> list[str]:
    """Return what a migration does on its way up that reads or writes a whole table of its database.

    Tables that the migration itself has made are empty.
    """
    (up,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "upgrade")
    found = [node for node in on_postgresql(up) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    calls = [(node, node.func.attr) for node in found if isinstance(node.func, ast.Attribute)]
    made = {ast.unparse(node.args[0]) for node, name in calls if name == "create_table"}
    return [f"{node.lineno}: {name}" for node, name in calls if reads_table(node, name, made)]


def on_postgresql(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes inside a node, without what only SQLite executes."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.If) and "dialect.name != 'sqlite'" in ast.unparse(inner.test):
            yield from on_postgresql(ast.Module(inner.body, []))
            if isinstance(inner.body[-1], ast.Return):
                return
        elif isinstance(inner, ast.If) and "dialect.name == 'sqlite'" in ast.unparse(inner.test):
            yield from on_postgresql(ast.Module(inner.orelse, []))
        else:
            yield inner
            yield from on_postgresql(inner)


def reads_table(call: ast.Call, name: str, made: set[str]) -> bool:
    if name == "execute":
        (statement,) = call.args
        is_text = isinstance(statement, (ast.Constant, ast.JoinedStr))
        return not is_text or bool(READING_SQL.search(ast.unparse(statement).strip("\"'f")))
    if name == "alter_column":
        return has(call, "type_") or has(call, "nullable")
    is_batch = len(call.args) > 1 and isinstance(call.args[1], ast.List)
    table = "" if is_batch or len(call.args) < 2 else ast.unparse(call.args[1])
    return name in {"create_index", *NARROWING} and table not in made


@pytest.mark.parametrize("path", [path for path in MIGRATIONS if path.stem[:4] >= OLDEST[path.parts[-3]]], ids=named)
def test_a_migration_reads_no_large_table(path: Path) -> None:
    """An index of a large table is built online (`services/storage/schema/online_indexes.py`)."""
    found = reads(path.read_text(encoding="utf-8"))
    assert bool(found) == (named(path) in READERS), found


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ('op.create_index("ix", "results", ["a"])', True),
        ('op.create_table("new"); op.create_index("ix", "new", ["a"])', False),
        ('batch.create_index("ix", ["a"])', True),
        ('batch.create_check_constraint("ck", "a > 0")', True),
        ('batch.alter_column("a", type_=sa.BigInteger())', True),
        ('batch.alter_column("a", server_default="0")', False),
        ('op.execute("UPDATE results SET a = 1")', True),
        ('op.execute("INSERT INTO a SELECT b FROM results")', True),
        ('op.execute("ALTER TABLE results ALTER COLUMN a SET NOT NULL")', True),
        ('op.execute("ALTER TABLE results ALTER COLUMN a SET STORAGE EXTERNAL")', False),
        ("op.execute(sa.update(results).values(a=1))", True),
        ("if op.get_bind().dialect.name != 'sqlite':\n        return\n    op.execute(statement)", False),
        ("if op.get_bind().dialect.name != 'sqlite':\n        op.create_index('ix', 'results', ['a'])", True),
        ("if op.get_bind().dialect.name == 'sqlite':\n        op.create_index('ix', 'results', ['a'])", False),
        ('op.add_column("results", sa.Column("a", sa.Integer()))', False),
    ],
)
def test_which_changes_read_a_table(line: str, is_found: bool) -> None:
    """Every change that reads a whole table is found, and nothing else."""
    assert bool(reads(f"def upgrade():\n    {line}\n")) == is_found
