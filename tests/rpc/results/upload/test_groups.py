"""Batches that wait for a commit are committed together, and each is answered and recorded by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import make_url

from services.results.upload.store import UploadStore
from services.results.upload.workers import ValidationPool
from tests.support.results.factories import make_tube, make_tubes
from tests.support.results.node import ResultsNode
from tests.support.waiting import until

BATCHES = 4
SIZE = 3


async def test_batches_that_wait_for_a_commit_are_committed_together(
    node: ResultsNode, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit waits until all batches are validated."""
    validated = 0
    groups: list[int] = []
    validate, commit = ValidationPool.validate, UploadStore.commit_group

    async def validate_and_count(self: ValidationPool, *arguments: Any) -> Any:
        nonlocal validated
        done = await validate(self, *arguments)
        validated += 1
        return done

    async def commit_late(self: UploadStore, position: Any, batches: Sequence[Any], now: Any) -> Any:
        groups.append(len(batches))
        await until(lambda: validated >= BATCHES)
        return await commit(self, position, batches, now)

    with monkeypatch.context() as patched:
        patched.setattr(ValidationPool, "validate", validate_and_count)
        patched.setattr(UploadStore, "commit_group", commit_late)
        answers = await node.upload(make_tubes(BATCHES * SIZE), batch=SIZE)
    assert sum(groups) == BATCHES
    assert len(groups) < BATCHES
    ends = [(number + 1) * SIZE for number in range(BATCHES)]
    assert [(one.committed_offset, one.accepted_count, one.duplicate_count) for one in answers] == [
        (end, SIZE, 0) for end in ends
    ]
    assert len({one.consistency_token for one in answers}) == BATCHES
    with contextlib.closing(sqlite3.connect(make_url(url).database or "")) as reader:
        (rows,) = reader.execute("SELECT count(*) FROM results_audit WHERE kind = 2 AND item_count = 3").fetchone()
        (entries,) = reader.execute("SELECT count(*) FROM changes WHERE kind = 0").fetchone()
        (times,) = reader.execute("SELECT count(DISTINCT upload_time) FROM results").fetchone()
    # The clock of this node stands still, so that the upload times of all groups begin at the same instant.
    assert (rows, entries, times) == (BATCHES, BATCHES, max(groups))


async def test_a_batch_with_a_stored_report_does_not_harm_those_that_wait_beside_it(node: ResultsNode) -> None:
    await node.upload([make_tube(4), make_tube(7, site="另一采样点")], "before")
    answers = await node.upload(make_tubes(12), "after", batch=SIZE)
    found = [(one.accepted_count, one.duplicate_count, one.rejected_count) for one in answers]
    assert found == [(3, 0, 0), (2, 1, 0), (2, 0, 1), (3, 0, 0)]
