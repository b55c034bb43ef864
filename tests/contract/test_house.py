"""Rules that the tests themselves keep: no sleeps, no clocks on the wall, no private names, no test of another's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = [path for path in sorted(TESTS.rglob("*.py")) if "bench" not in path.relative_to(TESTS).parts]
SLEEPERS = {"waiting.py", "virtual_time.py", "link.py"}
"""Modules of tests/support that may sleep: for conditions, for virtual time, and for a link that can be slow."""
CLOCKS = {"monotonic", "perf_counter", "time_ns", "monotonic_ns", "perf_counter_ns"}


def faults(path: Path) -> Iterator[str]:
    """Yield how a file breaks the rules, each fault with its line."""
    may_sleep = path.parent == TESTS / "support" and path.name in SLEEPERS
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("time" | "asyncio"), attr="sleep")) if not may_sleep:
                yield f"{node.lineno}: wait by tests.support.waiting"
            case ast.Attribute(value=ast.Name("time"), attr=name) if name in CLOCKS:
                yield f"{node.lineno}: count statements, rows or steps, or set a limit that only what hangs exceeds"
            case ast.ImportFrom(module=str(module)):
                if any(alias.name.startswith("_") for alias in node.names) and module != "__future__":
                    yield f"{node.lineno}: a private name of {module}"
                if module.startswith("tests.") and not module.startswith(("tests.support", "tests.bench")):
                    yield f"{node.lineno}: what {module} shares belongs into tests/support"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    """Private attributes are ruff's to find (SLF001)."""
    assert list(faults(path)) == []


def test_a_breach_is_found(tmp_path: Path) -> None:
    """Each kind of them."""
    path = tmp_path / "test_breach.py"
    path.write_text(
        "import time\n"
        "from services.main import _private\n"
        "from tests.unit.test_other import what\n"
        "time.sleep(1)\n"
        "assert time.monotonic() < 2\n"
    )
    assert sorted(fault.split(":")[0] for fault in faults(path)) == ["2", "3", "4", "5"]
