"""UploadResults and GetUpload through a real server: answers, errors with their reasons, and streams that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from hutong.results.v1 import lab_pb2, upload_pb2
from hutong.results.v1.lab_service_pb2 import SetLabStandingRequest
from hutong.results.v1.upload_service_pb2 import GetUploadRequest, UploadResultsRequest

from services.domain.instant import DAY, HOUR, SECOND, to_timestamp
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, field_violations, rich_status
from tests.support.results.factories import LAB_NAME, NOW, OTHER_USCC, PENDING, REPORTED, make_tube, make_tubes
from tests.support.results.node import ResultsNode, batch_of, ending, results_node, start

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def either_node(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[ResultsNode]:
    """On each engine."""
    async with results_node(tmp_path, database_url("results")) as running:
        await running.register()
        yield running


FAT_TUBE = make_tube(0, 20, site="点" * 200)
WRONG_STREAMS = {
    "no frame at all": ([], "UPLOAD_NOT_STARTED", "start"),
    "first frame empty": ([UploadResultsRequest()], "UPLOAD_NOT_STARTED", "start"),
    "first frame a batch": ([batch_of(make_tubes(1))], "UPLOAD_NOT_STARTED", "start"),
    "second start": ([start(), start()], "UPLOAD_NOT_STARTED", "start"),
    "no laboratory": ([start(lab="")], "INVALID_FIELD", "start.lab"),
    "malformed laboratory": ([start(lab="lab/91220501MA0HUTNG0T")], "MALFORMED_NAME", "start.lab"),
    "wrong check character": ([start(lab="labs/91220501MA0HUTNG0U")], "BAD_USCC", "start.lab"),
    "no upload id": ([start(upload_id="")], "INVALID_FIELD", "start.upload_id"),
    "upload id with a space": ([start(upload_id="a day")], "INVALID_FIELD", "start.upload_id"),
    "upload id with a newline": ([start(upload_id="u\n")], "INVALID_FIELD", "start.upload_id"),
    "empty frame": ([start(), UploadResultsRequest()], "INVALID_FIELD", "frame"),
    "batch without tubes": ([start(), batch_of([])], "INVALID_FIELD", "batch.tubes"),
    "negative offset": ([start(), batch_of(make_tubes(1), -1)], "INVALID_FIELD", "batch.offset"),
    "too many tubes": ([start(), batch_of([upload_pb2.Tube()] * 1001)], "BATCH_TOO_LARGE", "batch.tubes"),
    "too many bytes": ([start(), batch_of([FAT_TUBE] * 800)], "BATCH_TOO_LARGE", "batch"),
}


async def test_a_stream_that_breaks_the_contract_is_refused_with_its_reason(node: ResultsNode) -> None:
    """INVALID_ARGUMENT with the reason and the field; the next upload goes through."""
    told = {}
    for wrong, (frames, *_) in WRONG_STREAMS.items():
        answers, error = await node.send(frames)
        assert answers == []
        assert error is not None
        assert (error.code(), error_info(error).domain) == (INVALID, "hutong.org")
        told[wrong] = (field_violations(error), error_info(error).reason)
    assert told == {wrong: ({field: reason}, reason) for wrong, (_, reason, field) in WRONG_STREAMS.items()}
    (answer,) = await node.upload(make_tubes(1), "next")
    assert answer.accepted_count == 1


async def test_an_unknown_laboratory_is_refused_with_its_reason(node: ResultsNode) -> None:
    answers, error = await node.send([start(lab=f"labs/{OTHER_USCC}"), batch_of(make_tubes(1))])
    assert answers == []
    assert error is not None
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    info = error_info(error)
    assert (info.reason, dict(info.metadata)) == ("LAB_UNKNOWN", {"lab": f"labs/{OTHER_USCC}"})
    failure = error_details_pb2.PreconditionFailure()
    assert any(detail.Unpack(failure) for detail in rich_status(error).details)
    assert (failure.violations[0].type, failure.violations[0].subject) == ("LAB_UNKNOWN", f"labs/{OTHER_USCC}")


async def test_a_gap_ends_the_stream_after_what_came_before_it(node: ResultsNode) -> None:
    """OUT_OF_RANGE with the committed offset, from which the upload goes on."""
    answers, error = await node.send([start(), batch_of(make_tubes(2)), batch_of(make_tubes(1, 3), 3)])
    assert [answer.committed_offset for answer in answers] == [2]
    assert error is not None
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE
    assert (error_info(error).reason, error_info(error).metadata["committed_offset"]) == ("UPLOAD_GAP", "2")
    (answer,) = await node.upload(make_tubes(1, 2), offset=2)
    assert answer.committed_offset == 3


async def test_an_id_used_again_for_other_people_ends_the_stream(either_node: ResultsNode) -> None:
    """Persons sent before are acknowledged again. Others are not stored, and need a new upload id."""
    await either_node.upload(make_tubes(4), batch=2)
    frames = [start(), batch_of(make_tubes(2)), batch_of([make_tube(2), make_tube(9)], 2)]
    answers, error = await either_node.send(frames)
    assert [answer.duplicate_count for answer in answers] == [2]
    assert error is not None
    assert (error.code(), error_info(error).reason) == (INVALID, "UPLOAD_ID_REUSED")
    assert error_info(error).metadata == {"field": "start.upload_id", "offset": "3"}
    assert list(field_violations(error)) == ["start.upload_id"]
    assert (await either_node.upload_state()).committed_offset == 4
    (answer,) = await either_node.upload([make_tube(2), make_tube(9)], "another")
    assert (answer.accepted_count, answer.duplicate_count) == (1, 1)


async def test_get_upload_tells_where_to_go_on(node: ResultsNode) -> None:
    await node.upload([*make_tubes(3), make_tube(0), make_tube(9, 2, region="999999")], batch=2)
    upload = await node.upload_state()
    assert upload.name == f"{LAB_NAME}/uploads/u"
    assert (upload.committed_offset, upload.accepted_count, upload.duplicate_count, upload.rejected_count) == (
        5,
        3,
        1,
        2,
    )
    assert upload.create_time == upload.update_time == to_timestamp(NOW)


WRONG_NAMES = {
    f"{LAB_NAME}/uploads/none": (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    "": (INVALID, "INVALID_FIELD"),
    f"{LAB_NAME}/upload/u": (INVALID, "MALFORMED_NAME"),
    f"{LAB_NAME}/uploads/u\n": (INVALID, "MALFORMED_NAME"),
    "labs/91220501MA0HUTNG0U/uploads/u": (INVALID, "BAD_USCC"),
}


async def test_get_upload_tells_what_is_wrong_with_a_name(node: ResultsNode) -> None:
    told = {}
    for name in WRONG_NAMES:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.uploads.GetUpload(GetUploadRequest(name=name))
        told[name] = (caught.value.code(), error_info(caught.value).reason)
    assert told == WRONG_NAMES


async def test_an_upload_without_batches_ends_well_and_leaves_nothing(node: ResultsNode) -> None:
    assert await node.send([start()]) == ([], None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.upload_state()
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_pipelined_batches_are_answered_in_order(either_node: ResultsNode) -> None:
    """All sent before the first answer is read: one answer each, by growing offset, with its own rejections."""
    tubes = make_tubes(300)
    for place in range(7, 300, 10):
        tubes[place].sample_region = "999999"
    answers = await either_node.upload(tubes, batch=10)
    assert [answer.committed_offset for answer in answers] == list(range(10, 301, 10))
    assert {(answer.accepted_count, answer.rejected_count) for answer in answers} == {(9, 1)}
    assert {(one.tube_index, one.person_index) for answer in answers for one in answer.rejections} == {(7, -1)}
    assert all(answer.consistency_token for answer in answers)


async def test_rejections_name_field_and_reason_and_spare_the_neighbours(either_node: ResultsNode) -> None:
    person = make_tube(0, 3)
    person.persons[1].document.number = "410105186001010011"
    late = make_tube(10)
    late.report_time.CopyFrom(to_timestamp(NOW + DAY))
    (answer,) = await either_node.upload([person, late, make_tube(20), make_tube(20, site="另一采样点")])
    assert (answer.accepted_count, answer.duplicate_count, answer.rejected_count) == (3, 0, 3)
    told = {
        (one.tube_index, one.person_index): ([(each.field, each.reason) for each in one.violations], one.retryable)
        for one in answer.rejections
    }
    assert told == {
        (0, 1): ([("persons[1].document.number", "BAD_DOCUMENT_NUMBER")], False),
        (1, -1): ([("report_time", "TIME_IN_FUTURE")], True),
        (3, 0): ([("sample_site", "CONFLICT")], False),
    }
    assert all(each.description for one in answer.rejections for each in one.violations)


async def test_a_batch_of_the_greatest_size_is_taken(either_node: ResultsNode) -> None:
    (answer,) = await either_node.upload(make_tubes(1000))
    assert (answer.committed_offset, answer.accepted_count) == (1000, 1000)


def mixed_tubes() -> list[upload_pb2.Tube]:
    """Something of everything, in an order in which each batch depends on those before it."""
    broken = make_tube(30, 2)
    broken.persons[0].report_number = "R/30"
    return [
        make_tube(0, outcome=PENDING),
        make_tube(1),
        make_tube(0),
        make_tube(2, region="999999"),
        make_tube(1),
        make_tube(1, site="另一采样点"),
        make_tube(0, outcome=PENDING),
        broken,
        make_tube(2),
        make_tube(40, outcome=PENDING),
        make_tube(40, 1),
        make_tube(40, reported=REPORTED - HOUR),
    ]


@pytest.mark.parametrize("batch", [1, 5, 12])
async def test_validate_only_says_what_a_real_upload_says_and_stores_nothing(
    either_node: ResultsNode, batch: int
) -> None:
    """Twice before the upload and once after it, when everything is a duplicate."""
    node, tubes = either_node, mixed_tubes()
    dry_run = await node.upload(tubes, "same", batch=batch, validate_only=True)
    assert await node.upload(tubes, "same", batch=batch, validate_only=True) == dry_run
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.upload_state("same")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    real = await node.upload(tubes, "same", batch=batch)
    assert {answer.consistency_token for answer in dry_run} == {""}
    for answer in real:
        assert answer.consistency_token
        answer.consistency_token = ""
    assert dry_run == real
    again = await node.upload(tubes, "later", batch=batch, validate_only=True)
    resent = await node.upload(tubes, "later", batch=batch)
    for answer in resent:
        answer.consistency_token = ""
    assert again == resent
    assert sum(answer.accepted_count for answer in again) == 0


async def test_validate_only_replays_as_a_real_upload_does(either_node: ResultsNode) -> None:
    tubes = mixed_tubes()
    frames = [batch_of(tubes), batch_of(tubes[3:], 3), batch_of(tubes)]
    pretended, _ = await either_node.send([start(validate_only=True), *frames])
    real, _ = await either_node.send([start(), *frames])
    for answer in real:
        answer.consistency_token = ""
    assert pretended == real


async def test_a_laboratory_suspended_in_the_midst_of_a_stream_reports_no_more(node: ResultsNode) -> None:
    """A stream may last for days; reports issued before the suspension still count."""
    call = node.uploads.UploadResults()
    await call.write(start())
    await call.write(batch_of(make_tubes(1)))
    assert (await call.read()).accepted_count == 1
    await node.labs.SetLabStanding(
        SetLabStandingRequest(
            name=LAB_NAME,
            standing=lab_pb2.LAB_STANDING_SUSPENDED,
            reason="red light",
            effective_time=to_timestamp(REPORTED - HOUR),
        )
    )
    node.clock.advance(2 * SECOND)
    await call.write(batch_of([make_tube(1), make_tube(2, reported=REPORTED - 2 * HOUR)], 1))
    answer = await call.read()
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)
    assert [each.reason for each in answer.rejections[0].violations] == ["LAB_NOT_AUTHORIZED"]
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF


async def test_a_client_that_vanishes_loses_nothing_acknowledged_and_can_resume(either_node: ResultsNode) -> None:
    """The connection is cut while batches are under way.

    Acknowledged batches are stored; others are stored whole or not at all.
    """
    node, tubes = either_node, make_tubes(400)
    call = node.uploads.UploadResults()
    await call.write(start())
    for offset in range(0, 80, 20):
        await call.write(batch_of(tubes[offset : offset + 20], offset))
    acknowledged = (await call.read()).committed_offset
    call.cancel()
    upload = await node.upload_state()
    assert upload.committed_offset >= acknowledged
    assert upload.committed_offset % 20 == 0
    answers = await node.upload(tubes[acknowledged:], offset=acknowledged, batch=20)
    assert answers[-1].committed_offset == 400
    upload = await node.upload_state()
    assert (upload.accepted_count, upload.duplicate_count) == (400, 0)


async def test_a_stopping_server_ends_an_upload_after_its_last_acknowledgement(either_node: ResultsNode) -> None:
    """UNAVAILABLE SHUTTING_DOWN with RetryInfo; all that was sent and acknowledged before is stored."""
    node = either_node
    call = node.uploads.UploadResults()
    await call.write(start())
    await call.write(batch_of(make_tubes(50)))
    assert (await call.read()).committed_offset == 50
    node.server.service.drain.begin()
    answers, error = await ending(call)
    assert answers == []
    assert (error.code(), error_info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in rich_status(error).details)
    assert (await node.upload_state()).committed_offset == 50


async def test_a_stopping_server_acknowledges_what_it_has_taken(either_node: ResultsNode) -> None:
    """Batches pour in while it begins to drain: each answer is of a stored batch, each stored batch is answered."""
    node, tubes = either_node, make_tubes(2000)
    call = node.uploads.UploadResults()

    async def feed() -> None:
        await call.write(start())
        for offset in range(0, len(tubes), 20):
            # A write into a call that has ended hides the call's own status behind an INTERNAL of gRPC's client.
            if draining.is_set():
                return
            await call.write(batch_of(tubes[offset : offset + 20], offset))

    draining = asyncio.Event()
    feeder = asyncio.ensure_future(feed())
    committed = [(await call.read()).committed_offset]
    node.server.service.drain.begin()
    draining.set()
    answers, error = await ending(call)
    committed += [answer.committed_offset for answer in answers]
    await asyncio.gather(feeder, return_exceptions=True)
    assert error_info(error).reason == "SHUTTING_DOWN"
    assert committed == list(range(20, committed[-1] + 1, 20))
    assert (await node.upload_state()).committed_offset == committed[-1]
