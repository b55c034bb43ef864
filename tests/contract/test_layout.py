"""The size of what a newcomer opens: files and folders of the services stay small, and none is named for a metaphor."""

from __future__ import annotations

from pathlib import Path

SERVICES = Path(__file__).parents[2] / "services"
MOST_LINES, MOST_FILES = 350, 15
METAPHORS = {"utils", "helpers", "common", "manager", "desk", "shelf", "door", "judge", "patience", "place", "line"}
"""Names that say nothing of the field (CONTRIBUTING.md), and those that Hutong had once."""


def too_large(sizes: dict[Path, int], most: int) -> dict[str, int]:
    """Return what is larger than it may be."""
    return {str(path.relative_to(SERVICES)): size for path, size in sizes.items() if size > most}


def test_no_file_is_long() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SERVICES.rglob("*.py")}
    assert too_large(sizes, MOST_LINES) == {}


def test_no_folder_is_full() -> None:
    folders = [folder for folder in (SERVICES, *SERVICES.rglob("*/")) if folder.is_dir()]
    counts = {folder: sum(path.name != "__init__.py" for path in folder.glob("*.py")) for folder in folders}
    assert too_large(counts, MOST_FILES) == {}


def test_no_name_is_a_metaphor() -> None:
    assert [str(path) for path in SERVICES.rglob("*") if path.stem in METAPHORS] == []
