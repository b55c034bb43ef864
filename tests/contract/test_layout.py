"""Tests the layout: small files and folders, no folder named by a metaphor, and RPCs where the map says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.access.methods import METHODS

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
CODE = (SERVICES, ROOT / "clients/python/hutong_client")
MOST_LINES, MOST_FILES = 350, 15
METAPHORS = {"utils", "helpers", "common", "manager", "desk", "shelf", "door", "judge", "patience", "place", "line"}
"""Names that say nothing of the field (CONTRIBUTING.md), and those that Hutong had once."""


def too_large(sizes: dict[Path, int], most: int) -> dict[str, int]:
    """Return what is larger than it may be."""
    return {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > most}


def test_no_file_is_long() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for tree in CODE for path in tree.rglob("*.py")}
    assert too_large(sizes, MOST_LINES) == {}


def test_no_folder_is_full() -> None:
    folders = [folder for tree in CODE for folder in (tree, *tree.rglob("*/")) if folder.is_dir()]
    counts = {folder: sum(path.name != "__init__.py" for path in folder.glob("*.py")) for folder in folders}
    assert too_large(counts, MOST_FILES) == {}


def test_no_name_is_a_metaphor() -> None:
    assert [str(path) for tree in CODE for path in tree.rglob("*") if path.stem in METAPHORS] == []


def test_every_rpc_begins_where_the_map_says() -> None:
    """The map names one folder for each service of the contract. Its servicer has a method for each RPC."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("### 2.1")[2]
    rows = re.findall(r"^\| (`\w+Service`.*?) \| `([^`]+)`", page.partition("\n## ")[0], re.MULTILINE)
    folders = {name: ROOT / folder for names, folder in rows for name in re.findall(r"\w+", names)}
    assert folders.keys() == {method.containing_service.name for method in METHODS}
    for method in METHODS:
        source = (folders[method.containing_service.name] / "servicer.py").read_text(encoding="utf-8")
        assert re.search(rf"^    (async )?def {method.name}\(", source, re.MULTILINE), method.full_name
