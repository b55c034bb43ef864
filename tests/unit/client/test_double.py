"""The test double of the client: recorded decisions, uploads in memory, and failures that a test chooses."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from hutong.results.v1.lab_service_pb2 import GetLabRequest, ListLabsRequest
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.results.v1.upload_pb2 import Tube, UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.verification.v1.decision_pb2 import DECISION_REASON_NO_POLICY_IN_FORCE, Decision
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest, VerifyRequest
from hutong_client import (
    Batch,
    Totals,
    Unavailable,
    UploadSession,
    aio,
    errors,
    lets_in,
    reasons,
    stream_answers,
)
from hutong_client.testing import Double, Failure

from clients.examples.demo import DAY
from clients.examples.story import LABS, build_scenes
from tests.support.results.factories import make_tube

LAB = LABS[0].name
GET_LAB = "hutong.results.v1.LabService/GetLab"
LOOKUP = "hutong.results.v1.ResultsService/LookupLatest"
STREAM = "hutong.verification.v1.VerificationService/StreamVerify"
VERIFY = "hutong.verification.v1.VerificationService/Verify"


def test_recording_is_that_of_the_demo() -> None:
    """Each question of the story, with a decision that the story expects. The demo compares a real node with it."""
    double = Double()
    story = build_scenes(DAY)
    assert [scene.request for scene in double.scenes] == [scene.request for scene in story]
    for told, expected in zip(double.scenes, story, strict=True):
        assert expected.expected.differences(told.decision) == []
    assert list(double.labs.values()) == list(LABS)


def test_questions_get_recorded_decisions() -> None:
    """Alone, in a batch and on a stream. Another question is answered as where no policy is published."""
    with Double() as double, double.connect() as node:
        requests = [scene.request for scene in double.scenes]
        decisions = [scene.decision for scene in double.scenes]
        assert node.verification.Verify(requests[0]).decision == decisions[0]
        assert lets_in(decisions[0])
        items = node.verification.BatchVerify(BatchVerifyRequest(requests=requests)).items
        assert [item.decision for item in items] == decisions
        answers = stream_answers(node.verification.StreamVerify, requests)
        assert [item.decision for _, item in answers] == decisions
        other = VerifyRequest(region="460200")
        assert node.verification.Verify(other).decision.reason == DECISION_REASON_NO_POLICY_IN_FORCE
        double.answer(other, Decision(name="decisions/mine"))
        assert node.verification.Verify(other).decision.name == "decisions/mine"


def test_uploads_keep_the_rules_of_order_and_repetition() -> None:
    """Duplicates, conflicts, chosen rejections, a replay, a gap, another upload under one id, an unknown laboratory."""
    tubes = [make_tube(0, 2), make_tube(2), make_tube(3)]
    with Double() as double, double.connect() as node:
        double.uploads.reject("R3", "report_time", "TIME_IN_FUTURE")
        session = UploadSession(node.uploads, LAB, "u")
        [sent] = session.send([Batch(tubes, None)])
        assert session.totals() == Totals(tubes=3, accepted=3, rejected=1)
        assert [it.reason for it in sent.response.rejections[0].violations] == ["TIME_IN_FUTURE"]
        assert sorted(number for _, number in double.uploads.stored) == ["R0", "R1", "R2"]
        again = UploadSession(node.uploads, LAB, "u")
        list(again.send([Batch(tubes, None)]))
        assert again.totals() == Totals(tubes=3, duplicates=3, rejected=1)
        state = session.get()
        assert state is not None
        assert (state.committed_offset, state.accepted_count, state.rejected_count) == (3, 3, 1)
        other = UploadSession(node.uploads, LAB, "v")
        list(other.send([Batch([make_tube(2, site="elsewhere")], None)]))
        assert other.totals() == Totals(tubes=1, rejected=1)
        with pytest.raises(reasons.UploadGap):
            list(session.send([Batch([make_tube(9)], None)], offset=7))
        with pytest.raises(reasons.UploadIdReused) as reused:
            list(session.send([Batch([tubes[0], make_tube(9)], None)]))
        assert reused.value.metadata == {"field": "start.upload_id", "offset": "1"}
        with pytest.raises(reasons.LabUnknown) as unknown:
            list(UploadSession(node.uploads, "labs/none", "u").send([Batch([Tube()], None)]))
        assert [(it.type, it.subject) for it in unknown.value.preconditions] == [("LAB_UNKNOWN", "labs/none")]
        twice = [UploadResultsRequest(start=UploadStart(lab=LAB, upload_id="w"))] * 2
        with pytest.raises(reasons.UploadNotStarted) as started:
            list(node.uploads.UploadResults(iter(twice)))
        assert (started.value.metadata, len(started.value.field_violations)) == ({"field": "start"}, 1)


def test_chosen_failures_end_the_next_calls() -> None:
    """Each chosen failure ends one call.

    gRPC itself repeats repeatable calls, so their failures are seen in the calls alone.
    """
    away = Failure(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_delay=timedelta(milliseconds=1))
    bad = Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", fields={"region": "REGION_UNKNOWN"})
    with Double() as double, double.connect() as node:
        double.fail(GET_LAB, away)
        assert node.labs.GetLab(GetLabRequest(name=LAB)).lab.name == LAB
        assert double.calls == [GET_LAB] * 2
        double.fail(GET_LAB, Failure(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"))
        with pytest.raises(Unavailable):
            node.labs.GetLab(GetLabRequest(name=LAB))
        assert double.calls == [GET_LAB] * 3
        double.fail(VERIFY, away, bad)
        with pytest.raises(Unavailable):
            node.verification.Verify(double.scenes[0].request)
        with pytest.raises(reasons.InvalidField) as caught:
            node.verification.Verify(double.scenes[0].request)
        assert [(it.field, it.reason) for it in caught.value.field_violations] == [("region", "REGION_UNKNOWN")]
        with pytest.raises(errors.NotFound):
            node.labs.GetLab(GetLabRequest(name="labs/none"))
        with pytest.raises(errors.NotServed):
            node.labs.ListLabs(ListLabsRequest(region="410000"))
        double.fail(STREAM, bad)
        with pytest.raises(reasons.InvalidField):
            list(node.verification.StreamVerify(iter(())))
        denied = Failure(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
        double.fail(LOOKUP, denied)
        with pytest.raises(errors.PermissionDenied):
            node.results.LookupLatest(LookupLatestRequest())
        with pytest.raises(errors.NotServed):
            node.results.LookupLatest(LookupLatestRequest())


async def test_asyncio_calls_it_too() -> None:
    """The asyncio client calls it by its address."""
    with Double() as double:
        async with aio.connect(*[double.address] * 3, environment={}) as node:
            assert len((await node.labs.ListLabs(ListLabsRequest())).labs) == len(LABS)
            answer = await node.verification.Verify(double.scenes[0].request)
            assert answer.decision == double.scenes[0].decision
