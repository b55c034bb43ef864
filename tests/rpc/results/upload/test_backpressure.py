"""A laboratory that sends faster than can be stored is held back: nothing piles up in the service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
from hutong.results.v1.upload_service_pb2 import UploadResultsResponse
from sqlalchemy import make_url

from tests.support.databases import MakeUrl
from tests.support.results.factories import make_tube, make_tubes
from tests.support.results.node import ResultsNode, batch_of, results_node, start
from tests.support.waiting import TIMEOUT_SECONDS

BATCHES = 24
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


async def test_nothing_piles_up_while_the_database_is_slow(tmp_path: Path, postgres_url: MakeUrl) -> None:
    """While the table is locked, writing stops after a few batches.

    Once it is unlocked, all of them are stored in order.
    """
    url = postgres_url("results")
    async with results_node(tmp_path, url) as node:
        await node.register()
        await node.upload(make_tubes(1, 1_000_000), "before")
        stream = Stream(node)
        with psycopg.connect(make_url(url).render_as_string(hide_password=False)) as other:
            other.execute("LOCK TABLE report_keys IN ACCESS EXCLUSIVE MODE")
            tasks = [asyncio.ensure_future(stream.write()), asyncio.ensure_future(stream.read())]
            await until_still(node, stream)
            assert not stream.answers
            assert 0 < stream.written <= MOST_HELD
            other.rollback()
        await asyncio.wait_for(asyncio.gather(*tasks), TIMEOUT_SECONDS)
        assert [answer.committed_offset for answer in stream.answers] == [
            (place + 1) * BATCH for place in range(BATCHES)
        ]
        assert (await node.upload_state()).accepted_count == BATCHES * BATCH


async def until_still(node: ResultsNode, stream: Stream) -> None:
    """Wait until nothing more is written while a hundred other calls go to the service and come back."""
    before = -1
    while stream.written != before:
        before = stream.written
        for _ in range(100):
            await node.upload_state("before")
