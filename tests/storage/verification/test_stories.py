"""Tests the stories of four files in tests/scenarios: who is asked, and what is stored, flagged and purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.verification.story import Story

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def _stories() -> Iterator[Any]:
    for name in ("scope", "retention", "replay", "shown_reports"):
        file = yaml.safe_load((SCENARIOS / f"{name}.yaml").read_text(encoding="utf-8"))
        for one in file["stories"]:
            yield pytest.param(file["reports"], one["steps"], id=f"{name}: {one['story']}")


@pytest.mark.parametrize(("reports", "steps"), list(_stories()))
async def test_story(reports: dict[str, Any], steps: list[dict[str, Any]], sqlite_url: MakeUrl) -> None:
    """Each step is run in order. Decisions, counts and what is left are as the step says."""
    database = open_database(sqlite_url("verification"))
    story = Story(database, reports)
    for step in steps:
        await story.run(step)
    database.close()
