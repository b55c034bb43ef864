"""The size of what a newcomer opens: files and folders of the services stay small, and none is named for a metaphor."""

from __future__ import annotations

from pathlib import Path

SERVICES = Path(__file__).parents[2] / "services"
MOST_LINES, MOST_FILES = 350, 15
METAPHORS = {"utils", "helpers", "common", "manager", "desk", "shelf", "door", "judge", "patience", "place", "line"}
"""Names that say nothing of the field (CONTRIBUTING.md), and those that Hutong had once."""


def test_no_file_is_long() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SERVICES.rglob("*.py")}
    assert [str(path) for path, size in sizes.items() if size > MOST_LINES] == []


def test_no_folder_is_full() -> None:
    folders = [folder for folder in (SERVICES, *SERVICES.rglob("*/")) if folder.is_dir()]
    counts = {folder: sum(path.name != "__init__.py" for path in folder.glob("*.py")) for folder in folders}
    assert [str(folder) for folder, count in counts.items() if count > MOST_FILES] == []


def test_no_name_is_a_metaphor() -> None:
    assert [str(path) for path in SERVICES.rglob("*") if path.stem in METAPHORS] == []
