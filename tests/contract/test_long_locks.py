"""A migration reads or writes no whole table on PostgreSQL, unless READERS says why no caller waits for long.

All migrations of a service are one transaction. A lock that one of them takes on a table is held until the last one has
ended. A migration that reads a large table therefore makes callers wait for as long as it reads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_migrations import MIGRATIONS, NARROWING, OLDEST, has, named

SQL = re.compile(
    r"^\s*(?:UPDATE|DELETE|INSERT|CREATE (?:UNIQUE )?INDEX(?! CONCURRENTLY))\b"
    r"|\bADD CONSTRAINT\b|\bSET NOT NULL\b|\bALTER COLUMN \S+ TYPE\b"
)
"""Finds statements in plain SQL that read or write every row of a table."""
FEW_REFUSALS = "reported refusals are few: people report them one by one"
READERS = {
    "policy-0016_exchange_policies_upwards": "a node has one position above it",
    "results-0035_keep_last_uploads": "it reads the counts of delays once, 0.3 s for each million",
    "results-0038_note_when_answers_are_stored": "the number of missing reports is limited",
    "verification-0014_state_who_answers_refusals": FEW_REFUSALS,
    "verification-0019_find_same_refusals_by_both_keys": FEW_REFUSALS,
}
"""The migrations that read a whole table, and why that takes little time."""
SINCE_THE_RULE = [path for path in MIGRATIONS if path.stem[:4] >= OLDEST[path.parts[-3]]]


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
            return
        if isinstance(inner, ast.If) and "dialect.name == 'sqlite'" in ast.unparse(inner.test):
            for other in inner.orelse:
                yield from on_postgresql(other)
        else:
            yield inner
            yield from on_postgresql(inner)


def reads_table(call: ast.Call, name: str, made: set[str]) -> bool:
    if name == "execute":
        (statement,) = call.args
        is_text = isinstance(statement, (ast.Constant, ast.JoinedStr))
        return not is_text or bool(SQL.search(ast.unparse(statement).strip("\"'f")))
    if name == "alter_column":
        return has(call, "type_") or has(call, "nullable")
    is_batch = len(call.args) > 1 and isinstance(call.args[1], ast.List)
    table = "" if is_batch or len(call.args) < 2 else ast.unparse(call.args[1])
    return name in {"create_index", *NARROWING} and table not in made


@pytest.mark.parametrize("path", SINCE_THE_RULE, ids=named)
def test_a_migration_reads_no_large_table(path: Path) -> None:
    """An index of a large table is built online (`services/storage/online_indexes.py`)."""
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
        ("if op.get_bind().dialect.name == 'sqlite':\n        op.create_index('ix', 'results', ['a'])", False),
        ('op.add_column("results", sa.Column("a", sa.Integer()))', False),
    ],
)
def test_what_the_rule_finds(line: str, is_found: bool) -> None:
    """Every change that reads a whole table is found, and nothing else."""
    assert bool(reads(f"def upgrade():\n    {line}\n")) == is_found
