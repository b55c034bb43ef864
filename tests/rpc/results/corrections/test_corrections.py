"""Corrections, recalls and timeliness through a real server: answers and every documented error, on each engine."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1 import result_pb2
from hutong.results.v1.lab_service_pb2 import SetLabStandingRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import GetResultRequest, LookupLatestRequest
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest

from services.domain.instant import DAY, HOUR, MINUTE, SECOND, Instant, to_timestamp
from services.results.retention.purge import purge
from services.storage.engine import open_database
from tests.support.errors import Failure, failure_of
from tests.support.results.factories import (
    LAB_NAME,
    NEGATIVE,
    NOW,
    OTHER_USCC,
    PENDING,
    POSITIVE,
    REPORTED,
    make_document,
    make_tube,
    make_tubes,
)
from tests.support.results.node import ResultsNode

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
REQUEST_ID = "0192f0c1-0000-7000-8000-00000000000{}"
FAR = Timestamp(seconds=10**15)
FAR_AWAY: Instant = 10**15 * SECOND
"""More than a database's integer holds."""


def correction(number: str = "R0", outcome: Any = NEGATIVE, **fields: Any) -> CorrectResultRequest:
    request = CorrectResultRequest(name=f"{LAB_NAME}/results/{number}", outcome=outcome, reason="a slip of the pen")
    request.MergeFrom(CorrectResultRequest(**fields))
    return request


def recall(start: Instant = REPORTED - DAY, end: Instant = NOW, **fields: Any) -> RecallResultsRequest:
    request = RecallResultsRequest(
        lab=LAB_NAME,
        report_interval=Interval(start_time=to_timestamp(start), end_time=to_timestamp(end)),
        reason="a contaminated batch",
    )
    for name, value in fields.items():
        if isinstance(value, str | bool):
            setattr(request, name, value)
        elif isinstance(value, list):
            getattr(request, name).extend(value)
    return request


async def test_a_correction_answers_the_new_revision_and_is_seen_at_once(node: ResultsNode) -> None:
    await node.upload([make_tube(0, outcome=POSITIVE)])
    node.clock.advance(MINUTE)
    answer = await node.admin.CorrectResult(correction())
    result = answer.test_result
    assert (result.revision, result.state, result.outcome) == (2, result_pb2.RESULT_STATE_ACTIVE, NEGATIVE)
    assert (result.report_time, result.upload_time) == (to_timestamp(REPORTED), to_timestamp(NOW + MINUTE))
    look_up = LookupLatestRequest(document=make_document(0), at_least_as_fresh=answer.consistency_token)
    assert list((await node.results.LookupLatest(look_up)).in_region) == [result]
    first = (await node.results.GetResult(GetResultRequest(name=f"{LAB_NAME}/results/R0@1"))).test_result
    assert (first.state, first.outcome) == (result_pb2.RESULT_STATE_SUPERSEDED, POSITIVE)


WRONG_CORRECTIONS: dict[str, tuple[CorrectResultRequest, Failure]] = {
    "no name": (CorrectResultRequest(outcome=NEGATIVE, reason="x"), (INVALID, "INVALID_FIELD", ["name"])),
    "malformed": (correction(name="labs/x"), (INVALID, "MALFORMED_NAME", ["name"])),
    "check character": (
        correction(name="labs/91220501MA0HUTNG0U/results/R0"),
        (INVALID, "BAD_USCC", ["name"]),
    ),
    "a revision": (correction(name=f"{LAB_NAME}/results/R0@1"), (INVALID, "MALFORMED_NAME", ["name"])),
    "no outcome": (correction(outcome=0), (INVALID, "INVALID_FIELD", ["outcome"])),
    "made-up outcome": (correction(outcome=99), (INVALID, "INVALID_FIELD", ["outcome"])),
    "no reason": (
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=NEGATIVE),
        (INVALID, "INVALID_FIELD", ["reason"]),
    ),
    "long reason": (correction(reason="x" * 501), (INVALID, "INVALID_FIELD", ["reason"])),
    "NUL in the reason": (correction(reason="\0"), (INVALID, "INVALID_FIELD", ["reason"])),
    "before anybody was tested": (
        correction(sample_time=Timestamp(seconds=1), reissue_time=Timestamp(seconds=1)),
        (INVALID, "INVALID_FIELD", ["reissue_time", "sample_time"]),
    ),
    "beyond time": (
        correction(reissue_time=FAR, sample_time=FAR),
        (INVALID, "TIMES_OUT_OF_ORDER", ["reissue_time", "sample_time"]),
    ),
    "in the future": (
        correction(reissue_time=to_timestamp(NOW + DAY), outcome=POSITIVE),
        (INVALID, "TIME_IN_FUTURE", ["reissue_time"]),
    ),
    "longer validity": (
        correction(reissue_time=to_timestamp(REPORTED + MINUTE)),
        (INVALID, "CONFLICT", ["reissue_time"]),
    ),
    "a sampling record again": (correction(outcome=PENDING), (INVALID, "CONFLICT", ["outcome"])),
    "request id": (correction(request_id="1"), (INVALID, "INVALID_FIELD", ["request_id"])),
    "unknown report": (correction("R9"), (NOT_FOUND, "NOT_FOUND", [])),
    "unknown laboratory": (
        correction(name=f"labs/{OTHER_USCC}/results/R0"),
        (NOT_FOUND, "NOT_FOUND", []),
    ),
    "recalled": (correction("R1"), (PRECONDITION, "CONFLICT", [])),
}


async def test_a_faulty_correction_is_refused_with_its_reason(node: ResultsNode) -> None:
    await node.upload([make_tube(0), make_tube(1, reported=REPORTED - 9 * DAY)])
    await node.admin.RecallResults(recall(REPORTED - 10 * DAY, REPORTED - 8 * DAY))
    answers = {
        name: await failure_of(node.admin.CorrectResult(request)) for name, (request, _) in WRONG_CORRECTIONS.items()
    }
    assert answers == {name: expected for name, (_, expected) in WRONG_CORRECTIONS.items()}


async def test_a_request_id_corrects_and_recalls_once(node: ResultsNode) -> None:
    """The same answer again; its token is of the moment of answering, as a caller needs it."""
    await node.upload(make_tubes(3))
    request = correction(outcome=POSITIVE, request_id=REQUEST_ID.format(1))
    first = await node.admin.CorrectResult(request)
    node.clock.advance(MINUTE)
    again = await node.admin.CorrectResult(request)
    assert (again.test_result, again.consistency_token != "") == (first.test_result, True)
    other = correction(request_id=REQUEST_ID.format(1))
    assert await failure_of(node.admin.CorrectResult(other)) == (INVALID, "REQUEST_ID_REUSED", ["request_id"])
    taking = recall(request_id=REQUEST_ID.format(2))
    recalled = await node.admin.RecallResults(taking)
    await node.upload(make_tubes(2, 10), "v")
    assert (await node.admin.RecallResults(taking)).recalled_count == recalled.recalled_count
    changed = recall(request_id=REQUEST_ID.format(2), reason="another")
    assert await failure_of(node.admin.RecallResults(changed)) == (INVALID, "REQUEST_ID_REUSED", ["request_id"])


async def test_a_recall_is_counted_first_and_then_seen_at_once(node: ResultsNode) -> None:
    """A dry run returns no token, because there is nothing to wait for."""
    await node.upload([*make_tubes(3), make_tube(3, outcome=POSITIVE)])
    counted = await node.admin.RecallResults(recall(validate_only=True, outcomes=[NEGATIVE]))
    assert (counted.recalled_count, counted.consistency_token) == (3, "")
    done = await node.admin.RecallResults(recall(outcomes=[NEGATIVE]))
    assert done.recalled_count == 3
    look_up = LookupLatestRequest(document=make_document(0), at_least_as_fresh=done.consistency_token)
    (result,) = (await node.results.LookupLatest(look_up)).in_region
    assert (result.state, result.revision, result.outcome) == (result_pb2.RESULT_STATE_RECALLED, 2, NEGATIVE)


WRONG_RECALLS: dict[str, tuple[RecallResultsRequest, Failure]] = {
    "nothing": (
        RecallResultsRequest(),
        (INVALID, "INVALID_FIELD", ["lab", "reason", "report_interval"]),
    ),
    "malformed": (recall(lab="labs/x"), (INVALID, "MALFORMED_NAME", ["lab"])),
    "unknown": (recall(lab=f"labs/{OTHER_USCC}"), (NOT_FOUND, "NOT_FOUND", [])),
    "backwards": (recall(NOW, REPORTED), (INVALID, "INVALID_FIELD", ["report_interval"])),
    "empty interval": (recall(NOW, NOW), (INVALID, "INVALID_FIELD", ["report_interval"])),
    "beyond time": (recall(end=FAR_AWAY), (INVALID, "INVALID_FIELD", ["report_interval"])),
    "before time": (recall(-FAR_AWAY), (INVALID, "INVALID_FIELD", ["report_interval"])),
    "no reason": (recall(reason=""), (INVALID, "INVALID_FIELD", ["reason"])),
    "NUL": (recall(reason="\0"), (INVALID, "INVALID_FIELD", ["reason"])),
    "made-up outcome": (recall(outcomes=[99]), (INVALID, "INVALID_FIELD", ["outcomes[0]"])),
    "request id": (recall(request_id="x"), (INVALID, "INVALID_FIELD", ["request_id"])),
}


async def test_a_faulty_recall_is_refused_with_its_reason(node: ResultsNode) -> None:
    answers = {
        name: await failure_of(node.admin.RecallResults(request)) for name, (request, _) in WRONG_RECALLS.items()
    }
    assert answers == {name: expected for name, (_, expected) in WRONG_RECALLS.items()}


def summary(start: Instant = NOW - DAY, end: Instant = NOW, **fields: Any) -> SummarizeTimelinessRequest:
    return SummarizeTimelinessRequest(
        interval=Interval(start_time=to_timestamp(start), end_time=to_timestamp(end)), **fields
    )


async def test_timeliness_of_a_laboratory_and_of_its_region(node: ResultsNode) -> None:
    """Whole hours, delays to a twentieth, late beyond the stated threshold; the region first, then its laboratories."""
    await node.upload([make_tube(person, reported=NOW - (1 + person) * HOUR) for person in range(6)])
    (lab,) = (await node.timeliness.SummarizeTimeliness(summary(lab=LAB_NAME))).timeliness
    assert (lab.lab, lab.result_count, lab.late_count) == (LAB_NAME, 6, 2)
    assert 3 * 3600 <= lab.report_to_upload.p50.seconds <= 3 * 3600 * 1.05
    assert 6 * 3600 <= lab.report_to_upload.p99.seconds <= 6 * 3600 * 1.05
    assert lab.last_upload_time == to_timestamp(NOW)
    assert not lab.HasField("upload_to_nationwide")
    region, one = (await node.timeliness.SummarizeTimeliness(summary(region="220000"))).timeliness
    assert (region.region, one) == ("220000", lab)
    region.lab = LAB_NAME
    for row in (region, lab):
        for field in ("grouping", "lab_display_name", "lab_contact", "lab_count"):
            row.ClearField(field)
    assert region == lab
    threshold = summary(lab=LAB_NAME, late_threshold=Duration(seconds=2 * 3600))
    assert (await node.timeliness.SummarizeTimeliness(threshold)).timeliness[0].late_count == 4
    part = summary(NOW - 3 * HOUR, NOW - 2 * HOUR, lab=LAB_NAME)
    assert (await node.timeliness.SummarizeTimeliness(part)).timeliness[0].result_count == 1
    (empty,) = (await node.timeliness.SummarizeTimeliness(summary(region="410000"))).timeliness
    assert (empty.result_count, empty.HasField("report_to_upload"), empty.HasField("last_upload_time")) == (
        0,
        False,
        False,
    )


WRONG_SUMMARIES: dict[str, tuple[SummarizeTimelinessRequest, Failure]] = {
    "nobody": (summary(), (INVALID, "INVALID_FIELD", ["subject"])),
    "no times": (
        SummarizeTimelinessRequest(lab=LAB_NAME),
        (INVALID, "INVALID_FIELD", ["interval"]),
    ),
    "malformed": (summary(lab="labs/x"), (INVALID, "MALFORMED_NAME", ["lab"])),
    "unknown laboratory": (summary(lab=f"labs/{OTHER_USCC}"), (NOT_FOUND, "NOT_FOUND", [])),
    "region of letters": (summary(region="22000x"), (INVALID, "INVALID_FIELD", ["region"])),
    "unknown region": (summary(region="999999"), (INVALID, "REGION_UNKNOWN", ["region"])),
    "backwards": (summary(NOW, REPORTED, lab=LAB_NAME), (INVALID, "INVALID_FIELD", ["interval"])),
    "beyond time": (summary(-FAR_AWAY, FAR_AWAY, lab=LAB_NAME), (INVALID, "INVALID_FIELD", ["interval"])),
    "threshold below nothing": (
        summary(lab=LAB_NAME, late_threshold=Duration(seconds=-1)),
        (INVALID, "INVALID_FIELD", ["late_threshold"]),
    ),
}


async def test_a_faulty_summary_is_refused_with_its_reason(node: ResultsNode) -> None:
    answers = {
        name: await failure_of(node.timeliness.SummarizeTimeliness(request))
        for name, (request, _) in WRONG_SUMMARIES.items()
    }
    assert answers == {name: expected for name, (_, expected) in WRONG_SUMMARIES.items()}


async def test_every_rpc_that_needs_removed_results_says_so(node: ResultsNode, url: str) -> None:
    before = REPORTED - 70 * DAY
    await node.upload([make_tube(0, reported=before), make_tube(1)])
    database = open_database(url)
    purge(database, REPORTED - 30 * DAY, NOW)
    database.close()
    past = {"start": before - DAY, "end": before + HOUR}
    removed = (PRECONDITION, "BEFORE_HORIZON", [])
    assert await failure_of(node.admin.RecallResults(recall(**past))) == removed  # type: ignore[arg-type]
    assert await failure_of(node.timeliness.SummarizeTimeliness(summary(**past, lab=LAB_NAME))) == removed  # type: ignore[arg-type]
    moved = correction("R1", POSITIVE, sample_time=to_timestamp(before - DAY))
    assert await failure_of(node.admin.CorrectResult(correction("R0"))) == (NOT_FOUND, "NOT_FOUND", [])
    assert (await node.admin.CorrectResult(moved)).test_result.revision == 2
    (answer,) = await node.upload([make_tube(0, reported=before)], "again")
    assert [fault.reason for fault in answer.rejections[0].violations] == ["BEFORE_HORIZON"]


async def test_an_upload_is_validated_by_the_standing_at_each_reports_time(node: ResultsNode) -> None:
    """Suspended for a day that is over, recorded only now: what was reported in it is refused, before and after not."""
    suspended = REPORTED - 2 * DAY
    for standing, instant in ((3, suspended), (1, suspended + DAY)):
        await node.labs.SetLabStanding(
            SetLabStandingRequest(
                name=LAB_NAME, standing=standing, effective_time=to_timestamp(instant), reason="light"
            )  # type: ignore[arg-type]
        )
    instants = [suspended - 1, suspended, suspended + DAY - 1, suspended + DAY, REPORTED]
    tubes = [make_tube(person, reported=instant) for person, instant in enumerate(instants)]
    (answer,) = await node.upload(tubes)
    assert [(each.tube_index, each.violations[0].reason) for each in answer.rejections] == [
        (1, "LAB_NOT_AUTHORIZED"),
        (2, "LAB_NOT_AUTHORIZED"),
    ]
    assert answer.accepted_count == 3
