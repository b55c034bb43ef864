"""A docstring can be read alone: it does not begin with a word that refers to what stands before it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "clients/python/hutong_client", "migrations", "tests")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
WORDS = (
    *("It", "Its", "This", "That", "These", "Those", "They", "Them"),
    *("And", "Also", "But", "So", "Or", "Nor", "Neither", "Otherwise"),
)
"""Words that refer to a noun or a sentence before them."""
_CONTINUES = re.compile(rf"\s*({'|'.join(WORDS)})\b")


def faults(path: Path) -> Iterator[str]:
    """Yield each docstring of a file that begins with such a word, with its line. A constant's docstring follows it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if found := _CONTINUES.match(text):
                yield f"{node.lineno}: {found[1]}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_continues_what_stands_before_it(folder: str) -> None:
    """Each folder is searched for docstrings of modules, classes, functions and constants."""
    files = [path for path in FILES if path.is_relative_to(ROOT / folder)]
    assert files
    assert [f"{path.relative_to(ROOT)}:{fault}" for path in files for fault in faults(path)] == []


def test_a_breach_is_found(tmp_path: Path) -> None:
    """Docstrings of a module, a constant, a class and a method are found, and a longer word is not."""
    path = tmp_path / "breach.py"
    path.write_text(
        '"""Otherwise nothing."""\n'
        "LIMIT = 1\n"
        '"""This many."""\n'
        "class Kept:\n"
        '    """\n    Its names."""\n'
        "    def keep(self):\n"
        '        """Or not."""\n'
        "    def item(self):\n"
        '        """Item that sorts."""\n'
    )
    assert sorted(faults(path)) == ["1: Otherwise", "3: This", "5: Its", "8: Or"]
