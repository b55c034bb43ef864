"""Regions that the library lacks or an operator adds, and what governs there (tests/scenarios/regions.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.domain.region import NATION, ancestry, is_region, set_added_regions
from services.policy.model import OTHER_PROVINCE, SAME_PROVINCE
from services.policy.rules.resolve import Answer, PolicyBook
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from tests.support.policy.factories import make_revision

STORIES = yaml.safe_load((Path(__file__).parents[2] / "scenarios/regions.yaml").read_text(encoding="utf-8"))["stories"]


@pytest.fixture(autouse=True)
def _no_added_regions() -> Iterator[None]:
    """The added codes are of the process."""
    yield
    set_added_regions([])


def start(story: dict[str, Any], directory: Path) -> None:
    """Read the settings as a service does at its start, with the operator's file if the story has one."""
    variables = {}
    if "file" in story:
        file = directory / "regions.txt"
        file.write_text("\n".join(story["file"]), encoding="utf-8")
        variables["HUTONG_REGIONS_FILE"] = str(file)
    Settings.from_environment(variables)


def check_region(row: dict[str, Any]) -> None:
    """Check a code, the regions above it, and which policy governs for whom."""
    code = row["region"]
    assert is_region(code)
    assert ancestry(code) == (code, *row["in"], NATION)
    names = {
        origin: f"jurisdictions/{row['policy']}/policies/{origin}@1" for origin in ("same-province", "other-province")
    }
    book = PolicyBook(
        [
            make_revision(row["policy"], "same-province", origin=SAME_PROVINCE),
            make_revision(row["policy"], "other-province", origin=OTHER_PROVINCE),
        ]
    )
    come_from = {"same-province": row.get("same_province", code), "other-province": row.get("other_province", "460200")}
    for origin, region in come_from.items():
        answer = book.resolve(code, 4, region, 1)
        assert isinstance(answer, Answer)
        assert answer.effective.governing == names[origin]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story["story"])
def test_story(story: dict[str, Any], tmp_path: Path) -> None:
    """Every region of the story is known and every unknown one is not; a wrong file is refused in one line."""
    if "fault" in story:
        with pytest.raises(BadSetting) as caught:
            start(story, tmp_path)
        assert str(caught.value) == f"HUTONG_REGIONS_FILE {story['fault']}"
        return
    start(story, tmp_path)
    for row in story.get("regions", []):
        check_region(row)
    assert [code for code in story.get("unknown", []) if is_region(code)] == []
