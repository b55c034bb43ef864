"""Fairness between laboratories as callers meet it: RESOURCE_EXHAUSTED with RetryInfo, and a client that heeds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong_client.connection import connect
from hutong_client.retry import RetryPolicy
from hutong_client.upload import Batch, UploadSession

from services.domain.instant import MINUTE, SECOND
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, rich_status
from tests.support.results.factories import LAB_NAME, OTHER_USCC, lab_to_register, make_tubes
from tests.support.results.node import ResultsNode, batch_of, ending, results_node, start

OTHER_LAB = f"labs/{OTHER_USCC}"


@pytest.fixture
async def node(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[ResultsNode]:
    """A node with narrow limits and two laboratories."""
    limits = {"lab_streams": "2", "lab_persons_per_second": "1000", "lab_duplicates_per_day": "100"}
    async with results_node(tmp_path, sqlite_url("results"), **limits) as running:
        await running.register()
        await running.labs.CreateLab(CreateLabRequest(lab=lab_to_register(OTHER_USCC)))
        yield running


def exceeded(error: grpc.aio.AioRpcError) -> tuple[str, float]:
    """Return what was exceeded and the seconds to wait. The refusal must have all its details."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_info(error)
    assert (info.reason, info.domain, info.metadata["lab"]) == ("QUOTA_EXCEEDED", "hutong.org", LAB_NAME)
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in rich_status(error).details)
    return info.metadata["what"], retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


async def test_more_streams_than_its_share_are_refused(node: ResultsNode) -> None:
    """The third at once; the two go on, another laboratory is let in, and there is room when one has ended."""
    calls = [node.uploads.UploadResults() for _ in range(2)]
    for place, call in enumerate(calls):
        await call.write(start(f"u{place}"))
        await call.write(batch_of(make_tubes(1, place)))
        assert (await call.read()).accepted_count == 1
    answers, error = await node.send([start("third"), batch_of(make_tubes(1))])
    assert answers == []
    assert error is not None
    assert exceeded(error) == ("streams at once, 2", 1.0)
    assert (await node.send([start("other", OTHER_LAB), batch_of(make_tubes(1))]))[1] is None
    for call in calls:
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
    assert (await node.send([start("third"), batch_of(make_tubes(1))]))[1] is None


async def test_persons_beyond_the_rate_are_held_back_and_none_is_lost(node: ResultsNode) -> None:
    """Flow control, not refusal: 5,000 at 1,000 a second take four seconds; the other's take none of it.

    The node's clock stands, as it does for everyone: each batch after the first second's worth waits its full share.
    """
    sending = asyncio.ensure_future(node.upload(make_tubes(5_000), batch=500))
    answers, error = await node.send([start("other", OTHER_LAB), batch_of(make_tubes(10))])
    assert not sending.done()
    assert (len(answers), error) == (1, None)
    assert [answer.accepted_count for answer in await sending] == [500] * 10


async def test_duplicates_beyond_the_days_share_end_the_stream(node: ResultsNode) -> None:
    """The stream ends after its acknowledgement, and the next one is refused. The other laboratory is not affected."""
    tubes = make_tubes(60)
    await node.upload(tubes)
    await node.upload(tubes, "again")
    answers, error = await node.send([start("and-again"), batch_of(tubes), batch_of(tubes, 60)])
    assert [answer.duplicate_count for answer in answers] == [60]
    assert error is not None
    assert exceeded(error) == ("duplicates a day, 100", 60.0)
    assert (await node.upload_state("and-again")).committed_offset == 60
    call = node.uploads.UploadResults()
    await call.write(start("once-more"))
    answers, error = await ending(call)
    assert answers == []
    assert exceeded(error) == ("duplicates a day, 100", 60.0)
    assert (await node.send([start("other", OTHER_LAB), batch_of(tubes)]))[1] is None
    node.clock.advance(MINUTE)
    assert (await node.send([start("fresh"), batch_of(make_tubes(20, 1_000))]))[1] is None


async def test_the_client_waits_as_long_as_the_error_says_and_ends_its_work(node: ResultsNode) -> None:
    """A day sent a third time, beyond its share: slowed to a batch a minute, all acknowledged in the end."""
    tubes = make_tubes(100)
    for upload_id in ("first", "second"):
        await node.upload(tubes, upload_id)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        node.clock.advance(round(seconds * SECOND))

    def send() -> list[int]:
        with connect(results=f"127.0.0.1:{node.server.port}") as connection:
            session = UploadSession(
                connection.uploads, LAB_NAME, "third", retry_policy=RetryPolicy(timedelta(minutes=5), sleep=wait)
            )
            batches = [Batch(tubes[at : at + 20], None) for at in range(0, 100, 20)]
            return [it.response.duplicate_count for it in session.send(batches)]

    assert await asyncio.to_thread(send) == [20] * 5
    assert len(waits) == 4
    assert all(60 <= seconds <= 75 for seconds in waits)
