"""Limits of a caller: time before the first frame, size of an answer, memory for laboratories that it names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest, LookupLatestRequest
from prometheus_client import REGISTRY

from services.domain.instant import HOUR
from services.results.limits import ResultsLimits
from services.runtime.limits import MAX_MESSAGE_BYTES
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, failure_of
from tests.support.results.factories import REPORTED, make_document, make_tube, make_tubes
from tests.support.results.node import ResultsNode, batch_of, ending, results_node, start
from tests.support.waiting import TIMEOUT_SECONDS, turns, until

PERSONS = 25
RESULTS = 40
"""Twenty in the region and as many outside it: all that a look-up can be asked for."""


async def test_a_stream_that_never_starts_is_ended(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The stream ends with the documented status. A stream that has started may take its time."""
    async with results_node(tmp_path, sqlite_url("results"), start_seconds="1") as node:
        await node.register()
        call, started = node.uploads.UploadResults(), node.uploads.UploadResults()
        await started.write(start())
        answers, error = await ending(call)
        assert (answers, error.code(), error_info(error).reason) == ([], grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE")
        await turns()
        assert not started.done()
        await started.done_writing()
        assert await started.read() == grpc.aio.EOF


def uploads_begun() -> float:
    """How many uploads have come to any server of this process."""
    labels = {
        "grpc_type": "bidi_stream",
        "grpc_service": "hutong.results.v1.UploadService",
        "grpc_method": "UploadResults",
        "role": "local",
    }
    return REGISTRY.get_sample_value("grpc_server_started_total", labels) or 0.0


async def test_a_stream_without_its_first_frame_does_not_hold_the_drain(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The stream is ended at once when the server stops."""
    async with results_node(tmp_path, sqlite_url("results"), start_seconds="60") as node:
        before = uploads_begun()
        call = node.uploads.UploadResults()
        await until(lambda: uploads_begun() > before)
        stopping = asyncio.ensure_future(node.server.stop(3600.0))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            _, error = await ending(call)
            assert (error.code(), error_info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            await stopping


async def test_answers_beyond_a_message_are_refused_and_smaller_batches_answered(node: ResultsNode) -> None:
    """500 persons with forty results each: said by the contract, not by gRPC in the middle of sending."""
    tubes = []
    for person in range(PERSONS):
        for place in range(RESULTS):
            region = "220502" if place % 2 else "410105"
            tube = make_tube(person, reported=REPORTED - place * HOUR, region=region, site="采" * 200)
            tube.persons[0].report_number = f"R{person}-{place}"
            tubes.append(tube)
    await node.upload(tubes, batch=500)

    def batch(count: int) -> BatchLookupLatestRequest:
        asked = [LookupLatestRequest(document=make_document(place % PERSONS), limit=20) for place in range(count)]
        return BatchLookupLatestRequest(requests=asked)

    code = grpc.StatusCode.INVALID_ARGUMENT
    assert await failure_of(node.results.BatchLookupLatest(batch(500))) == (code, "BATCH_TOO_LARGE", ["requests"])
    for count in (250, 125, 62):
        try:
            answer = await node.results.BatchLookupLatest(batch(count))
        except grpc.aio.AioRpcError:
            continue
        assert answer.ByteSize() <= MAX_MESSAGE_BYTES
        assert {len(item.response.in_region) for item in answer.items} == {20}
        break
    else:
        raise AssertionError("no smaller batch was answered")


async def test_dry_runs_of_a_process_share_one_budget(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A dry run that would exceed the shared budget is ended. Once the others end, there is budget again."""
    limits = ResultsLimits(dry_run_reports=5)
    async with results_node(tmp_path, sqlite_url("results"), limits=limits) as node:
        await node.register()
        first, second = node.uploads.UploadResults(), node.uploads.UploadResults()
        for call, tubes in ((first, make_tubes(3)), (second, make_tubes(2, 3))):
            await call.write(start(validate_only=True))
            await call.write(batch_of(tubes))
            assert (await call.read()).accepted_count == len(tubes)
        # Known already: no more memory, no end.
        await first.write(batch_of(make_tubes(3), 3))
        assert (await first.read()).duplicate_count == 3
        await second.write(batch_of(make_tubes(1, 10), 2))
        answers, error = await ending(second)
        assert (answers, error.code(), error_info(error).reason) == (
            [],
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OVERLOADED",
        )
        assert error_info(error).metadata == {"limit": "5", "what": "reports in validate_only uploads"}
        await first.write(batch_of(make_tubes(2, 20), 6))
        assert (await first.read()).accepted_count == 2
        await first.done_writing()
        assert await first.read() == grpc.aio.EOF
        (answer,) = await node.upload(make_tubes(5), validate_only=True)
        assert answer.accepted_count == 5
