"""A laboratory that sends faster than can be stored is held back: nothing piles up in the service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hutong.results.v1.upload_service_pb2 import UploadResultsResponse

from services.results.upload.store import UploadStore
from tests.support.results.factories import make_tube, make_tubes
from tests.support.results.node import ResultsNode, batch_of, start
from tests.support.waiting import TIMEOUT_SECONDS, until

BATCHES = 14
BATCH = 1_000
SITE = "采" * 200
"""With the longest name of a site, a batch takes most of its maximum of one megabyte."""
MOST_HELD = 10 * 2**20
"""How much a laboratory may send before it is held back: some batches here, and a connection's window of bytes."""


class Stream:
    """A client that writes as fast as it is let, and reads whatever comes."""

    def __init__(self, node: ResultsNode) -> None:
        self._call = node.uploads.UploadResults()
        self.written = 0
        self.answers: list[UploadResultsResponse] = []

    async def write(self) -> None:
        """Send all batches."""
        await self._call.write(start())
        for place in range(BATCHES):
            first = place * BATCH
            frame = batch_of([make_tube(person, site=SITE) for person in range(first, first + BATCH)], first)
            await self._call.write(frame)
            self.written += frame.ByteSize()
        await self._call.done_writing()

    async def read(self) -> None:
        """Keep every answer."""
        async for answer in self._call:
            self.answers.append(answer)


async def test_nothing_piles_up_while_the_database_is_slow(node: ResultsNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first commit waits, writing stops after a few batches.

    Once it goes on, all of them are stored in order.
    """
    await node.upload(make_tubes(1, 1_000_000), "before")
    is_waiting, may_commit = asyncio.Event(), asyncio.Event()
    commit = UploadStore.commit_group

    async def commit_late(self: UploadStore, *arguments: Any) -> Any:
        is_waiting.set()
        await may_commit.wait()
        return await commit(self, *arguments)

    monkeypatch.setattr(UploadStore, "commit_group", commit_late)
    stream = Stream(node)
    tasks = [asyncio.ensure_future(stream.write()), asyncio.ensure_future(stream.read())]
    await until(is_waiting.is_set)
    await until_still(node, stream)
    assert not stream.answers
    assert 0 < stream.written <= MOST_HELD
    may_commit.set()
    await asyncio.wait_for(asyncio.gather(*tasks), TIMEOUT_SECONDS)
    assert [answer.committed_offset for answer in stream.answers] == [(place + 1) * BATCH for place in range(BATCHES)]
    assert (await node.upload_state()).accepted_count == BATCHES * BATCH


async def until_still(node: ResultsNode, stream: Stream) -> None:
    """Wait until nothing more is written while a hundred other calls go to the service and come back."""
    before = -1
    while stream.written != before:
        before = stream.written
        for _ in range(100):
            await node.upload_state("before")
