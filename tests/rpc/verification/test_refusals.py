"""Reported refusals through real services: they are assessed at once, listed, answered and counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.type.interval_pb2 import Interval
from hutong.policy.v1 import policy_pb2
from hutong.type.v1 import outcome_pb2, purpose_pb2, refusal_ground_pb2, summary_period_pb2
from hutong.verification.v1 import decision_pb2, refusal_pb2, verification_service_pb2
from hutong.verification.v1 import refusal_service_pb2 as service

from services.domain.instant import DAY, HOUR, MINUTE, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.errors import error_info, field_violations
from tests.support.lists import read_pages
from tests.support.verification.node import ALL, NUMBERS, Callers, Node, calling, document, paper, question

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOTEL = purpose_pb2.PURPOSE_HOTEL
NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
RETEST = refusal_ground_pb2.REFUSAL_GROUND_REPEAT_TEST_DEMANDED
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL
NOT_UNLAWFUL = refusal_pb2.REFUSAL_ASSESSMENT_NOT_UNLAWFUL
UNDETERMINED = refusal_pb2.REFUSAL_ASSESSMENT_UNDETERMINED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callers]:
    """A node where the first made-up person has a result of five hours ago, and Zhengzhou asks for 48 hours."""
    node = Node(tmp_path_factory.mktemp("board"))
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            await callers.upload(NUMBERS[0], "R0", SystemClock().now() - 5 * HOUR)
            yield callers
    finally:
        await node.close()


def _report(*grounds: int, ago: int = HOUR, region: str = "410105", **fields: Any) -> service.ReportRefusalRequest:
    return service.ReportRefusalRequest(
        region=region,
        venue="站前宾馆",
        purpose=HOTEL,
        refuse_time=to_timestamp(SystemClock().now() - ago),
        grounds=grounds,  # type: ignore[arg-type]
        **fields,
    )


async def test_forbidden_ground_is_unlawful_for_every_person(callers: Callers) -> None:
    """Refused for not being tested here: unlawful, and the forbidden ground is named."""
    refusal = (await callers.refusals.ReportRefusal(_report(NOT_LOCAL, EXPIRED))).refusal
    assert (refusal.assessment, list(refusal.forbidden_grounds)) == (UNLAWFUL, [NOT_LOCAL])
    assert refusal.state == refusal_pb2.REFUSAL_STATE_OPEN
    assert (await callers.refusals.GetRefusal(service.GetRefusalRequest(name=refusal.name))).refusal == refusal


async def test_numbers_are_masked_wherever_they_are_written(callers: Callers) -> None:
    """No document number is stored in clear, in the venue's name and the answer either."""
    report = _report(RETEST)
    report.venue = "站前宾馆 410105186001010019"
    refusal = (await callers.refusals.ReportRefusal(report)).refusal
    request = service.AnswerRefusalRequest(name=refusal.name, answer="asked 410105186001010019 to come again")
    answered = (await callers.refusals.AnswerRefusal(request)).refusal
    assert answered.venue == "站前宾馆 41**************19"
    assert answered.answer == "asked 41**************19 to come again"


async def test_retest_of_a_recognized_person_is_unlawful(callers: Callers) -> None:
    """Recognised at the instant of refusal: unlawful, by a decision that is made for it and stored."""
    refusal = (await callers.refusals.ReportRefusal(_report(RETEST, document=document(NUMBERS[0])))).refusal
    assert refusal.assessment == UNLAWFUL
    made = await callers.decisions.GetDecision(verification_service_pb2.GetDecisionRequest(name=refusal.decision))
    assert made.decision.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED
    assert made.decision.use_time == refusal.refuse_time


async def test_paper_that_was_shown_counts_as_a_record_does(callers: Callers) -> None:
    """No record of it is found, and who held it was entitled all the same; unless it came only afterwards."""
    now = SystemClock().now()
    shown = {"document": document(NUMBERS[1]), "evidence": [paper("PAPER", now - 5 * HOUR)]}
    refusal = (await callers.refusals.ReportRefusal(_report(RETEST, **shown))).refusal
    assert refusal.assessment == UNLAWFUL
    made = await callers.decisions.GetDecision(verification_service_pb2.GetDecisionRequest(name=refusal.decision))
    assert made.decision.basis == decision_pb2.DECISION_BASIS_PRESENTED
    assert list(made.inputs.evidence) == shown["evidence"]
    later = _report(RETEST, ago=6 * HOUR, region="410104", **shown)
    assert (await callers.refusals.ReportRefusal(later)).refusal.assessment == NOT_UNLAWFUL


async def test_refused_before_the_report_was_out(callers: Callers) -> None:
    """Six hours ago there was no result yet, the nation answers, and the rule of the place permits refusal."""
    report = _report(EXPIRED, ago=6 * HOUR, region="410102", document=document(NUMBERS[0]))
    assert (await callers.refusals.ReportRefusal(report)).refusal.assessment == NOT_UNLAWFUL


async def test_refused_where_the_policy_requires_no_test(callers: Callers) -> None:
    """Without a result too: no decision permitted it, whatever the ground."""
    await callers.publish("410300", 48 * HOUR, refuse=False)
    report = _report(EXPIRED, region="410302", document=document(NUMBERS[1]))
    assert (await callers.refusals.ReportRefusal(report)).refusal.assessment == UNLAWFUL


async def test_a_report_without_an_origin_is_assessed_by_the_better_policy(callers: Callers) -> None:
    """An hour for people of the province, nothing of others: unlawful unless known to be one of the former."""
    await callers.publish("410500", HOUR, origin=policy_pb2.TRAVELER_ORIGIN_SAME_PROVINCE)
    await callers.publish("410500", None, origin=policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE, policy_id="outside")
    assessed = {}
    regions = ("410502", "410503", "410505", "410506")
    for region, origin in zip(regions, ("", "000000", "410100", "220500"), strict=True):
        report = _report(EXPIRED, region=region, document=document(NUMBERS[0]), arriving_from=origin)
        assessed[origin] = (await callers.refusals.ReportRefusal(report)).refusal.assessment
    assert assessed == {"": UNLAWFUL, "000000": UNLAWFUL, "410100": NOT_UNLAWFUL, "220500": UNLAWFUL}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.ReportRefusal(_report(EXPIRED, arriving_from="999999"))
    assert field_violations(caught.value) == {"arriving_from": "REGION_UNKNOWN"}


async def test_nothing_known_is_undetermined(callers: Callers) -> None:
    """Without a person and a decision, on a ground that is not forbidden, the assessment is undetermined."""
    assert (await callers.refusals.ReportRefusal(_report(EXPIRED))).refusal.assessment == UNDETERMINED


async def test_assessed_by_the_decision_that_was_shown(callers: Callers) -> None:
    """A recognition shown at the door makes a refusal soon after unlawful; elsewhere it says nothing."""
    shown = (await callers.decisions.Verify(question(NUMBERS[0], store_decision=True))).decision
    now = -MINUTE
    here = (await callers.refusals.ReportRefusal(_report(RETEST, ago=now, decision=shown.name))).refusal
    assert (here.assessment, here.decision) == (UNLAWFUL, shown.name)
    elsewhere = _report(RETEST, ago=now, decision=shown.name, region="410106")
    assert (await callers.refusals.ReportRefusal(elsewhere)).refusal.assessment == UNDETERMINED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.ReportRefusal(_report(RETEST, decision="decisions/01890000-0000-7000-8000-000000000000"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_decision_for_another_purpose_says_nothing(callers: Callers) -> None:
    """Recognised at a hotel, refused at a hospital: the hospital has a rule of its own."""
    shown = (await callers.decisions.Verify(question(NUMBERS[0], store_decision=True))).decision
    report = _report(RETEST, ago=-MINUTE, decision=shown.name)
    report.purpose = purpose_pb2.PURPOSE_MEDICAL_INSTITUTION
    assert (await callers.refusals.ReportRefusal(report)).refusal.assessment == UNDETERMINED


async def test_a_decision_about_another_person_does_not_count(callers: Callers) -> None:
    """The document shows that the decision is about another person. The report names the one made for this person."""
    asked = question(NUMBERS[0], region="410103", store_decision=True)
    shown = (await callers.decisions.Verify(asked)).decision
    named = {"ago": -MINUTE, "region": "410103", "decision": shown.name}
    theirs = _report(RETEST, document=document(NUMBERS[0]), **named)
    assert (await callers.refusals.ReportRefusal(theirs)).refusal.decision == shown.name
    report = _report(RETEST, document=document(NUMBERS[1]), **named)
    refusal = (await callers.refusals.ReportRefusal(report)).refusal
    assert refusal.assessment == NOT_UNLAWFUL
    assert refusal.decision not in ("", shown.name)


async def test_a_positive_outweighs_a_decision_that_was_shown_before_it(callers: Callers) -> None:
    """Recognised in the morning, positive at noon, refused after it: not unlawful."""
    now = SystemClock().now()
    await callers.upload(NUMBERS[2], "BEFORE", now - 6 * HOUR)
    shown, elsewhere = [
        (
            await callers.decisions.Verify(
                question(NUMBERS[2], region=region, store_decision=True, use_time=to_timestamp(now - 3 * HOUR))
            )
        ).decision
        for region in ("410105", "410106")
    ]
    assert shown.outcome == decision_pb2.DECISION_OUTCOME_RECOGNIZED
    await callers.upload(NUMBERS[2], "POSITIVE", now - HOUR, outcome_pb2.OUTCOME_POSITIVE)
    report = _report(RETEST, ago=0, decision=shown.name, document=document(NUMBERS[2]))
    refusal = (await callers.refusals.ReportRefusal(report)).refusal
    assert refusal.assessment == NOT_UNLAWFUL
    assert refusal.decision != shown.name
    before = _report(RETEST, ago=2 * HOUR, region="410106", decision=elsewhere.name, document=document(NUMBERS[2]))
    assert (await callers.refusals.ReportRefusal(before)).refusal.assessment == UNLAWFUL


async def test_statement_keeps_no_identity(callers: Callers) -> None:
    """Everything that names the person is masked in the statement."""
    words = f"我是张三，{NUMBERS[0]}，他们不认"
    report = _report(NOT_LOCAL, document=document(NUMBERS[0]), statement=words)
    statement = (await callers.refusals.ReportRefusal(report)).refusal.statement
    assert NUMBERS[0] not in statement
    assert "张三" not in statement


async def test_one_person_place_purpose_and_day_is_one_report(callers: Callers) -> None:
    """The second report is the first one, with its receipt. Another day, purpose or person is another report."""
    sent = _report(NOT_LOCAL, region="410182", document=document(NUMBERS[0]))
    first = await callers.refusals.ReportRefusal(sent)
    assert await callers.refusals.ReportRefusal(sent) == first
    tracked = await callers.refusals.TrackRefusal(service.TrackRefusalRequest(code=first.code.lower()))
    assert tracked.refusal == first.refusal
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.TrackRefusal(service.TrackRefusalRequest(code="0000-0000-0000-0000"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    others = [
        _report(NOT_LOCAL, region="410182", document=document(NUMBERS[1])),
        _report(NOT_LOCAL, region="410182", document=document(NUMBERS[0]), ago=DAY + HOUR),
        _report(NOT_LOCAL, region="410182"),
    ]
    names = {(await callers.refusals.ReportRefusal(other)).refusal.name for other in others}
    assert len(names | {first.refusal.name}) == 4


async def test_same_request_id_reports_once(callers: Callers) -> None:
    """Sent twice, reported once; with other content it is INVALID_ARGUMENT."""
    request = _report(NOT_LOCAL, region="410184", request_id="01890000-0000-4000-8000-000000000001")
    first = await callers.refusals.ReportRefusal(request)
    assert await callers.refusals.ReportRefusal(request) == first
    request.venue = "别处"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.ReportRefusal(request)
    assert error_info(caught.value).reason == "REQUEST_ID_REUSED"


async def test_a_report_is_recognised_under_both_keys(tmp_path: Path) -> None:
    """Evidence and reports from before a change of the pepper are still the same person's, and nobody else's."""
    node = Node(tmp_path)
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            await callers.upload(NUMBERS[0], "R0", SystemClock().now() - 5 * HOUR)
            shown = (await callers.decisions.Verify(question(NUMBERS[0], store_decision=True))).decision
            sent = _report(NOT_LOCAL, region="410104", document=document(NUMBERS[0]), request_id=str(uuid4()))
            first = await callers.refusals.ReportRefusal(sent)
        await node.stop(ALL)
        node.write_new_pepper()
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            assert await callers.refusals.ReportRefusal(sent) == first
            sent.request_id = ""
            assert (await callers.refusals.ReportRefusal(sent)).code == first.code
            named = []
            for number in NUMBERS[:2]:
                report = _report(RETEST, ago=-MINUTE, decision=shown.name, document=document(number))
                refusal = (await callers.refusals.ReportRefusal(report)).refusal
                named.append((refusal.assessment, refusal.decision == shown.name))
            assert named == [(UNLAWFUL, True), (NOT_UNLAWFUL, False)]
    finally:
        await node.close()


async def test_list_is_paged_and_filtered(callers: Callers) -> None:
    """Pages meet, newest first; a token is bound to its request."""
    names = [(await callers.refusals.ReportRefusal(_report(NOT_LOCAL, region="410181"))).refusal.name for _ in range(5)]
    request = service.ListRefusalsRequest(region="410181", grounds=[NOT_LOCAL], page_size=2)
    pages = await read_pages(callers.refusals.ListRefusals, request)
    assert [refusal.name for page in pages for refusal in page.refusals] == names[::-1]
    foreign = service.ListRefusalsRequest(region="410182", page_token=pages[0].next_page_token)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.ListRefusals(foreign)
    assert error_info(caught.value).reason == "INVALID_PAGE_TOKEN"


async def test_answer_and_summary(callers: Callers) -> None:
    """Answered once; counted by jurisdiction and ground, with the time to answer."""
    for grounds in ((NOT_LOCAL,), (NOT_LOCAL, EXPIRED), (EXPIRED,)):
        reported = (await callers.refusals.ReportRefusal(_report(*grounds, region="410183"))).refusal
    answer = service.AnswerRefusalRequest(name=reported.name, answer="已责令整改")
    answered = (await callers.refusals.AnswerRefusal(answer)).refusal
    assert answered.state == refusal_pb2.REFUSAL_STATE_ANSWERED
    assert (await callers.refusals.AnswerRefusal(answer)).refusal == answered
    answer.answer = "无此事"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.AnswerRefusal(answer)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(caught.value).reason == "CONFLICT"
    now = SystemClock().now()
    interval = Interval(start_time=to_timestamp(now - DAY), end_time=to_timestamp(now))
    request = service.SummarizeRefusalsRequest(region="410183", interval=interval)
    (row,) = (await callers.refusals.SummarizeRefusals(request)).refusal_summaries
    counts = {0: row.total} | {it.ground: it.counts for it in row.grounds}
    told = {ground: (it.refusal_count, it.unlawful_count, it.open_count) for ground, it in counts.items()}
    assert told == {0: (3, 2, 2), NOT_LOCAL: (2, 2, 2), EXPIRED: (2, 1, 1)}
    assert row.total.HasField("median_time_to_answer")
    assert row.interval == interval


async def test_summary_is_paged(callers: Callers) -> None:
    """Pages meet, each row once, by jurisdiction and day; a token is bound to its request."""
    for region in ("410184", "410185", "410122"):
        for hours in (1, 30):
            await callers.refusals.ReportRefusal(_report(NOT_LOCAL, EXPIRED, region=region, ago=hours * HOUR))
    now = SystemClock().now()
    interval = Interval(start_time=to_timestamp(now - 3 * DAY), end_time=to_timestamp(now))
    request = service.SummarizeRefusalsRequest(
        region="410000", interval=interval, period=summary_period_pb2.SUMMARY_PERIOD_DAY, page_size=500
    )
    whole = list((await callers.refusals.SummarizeRefusals(request)).refusal_summaries)
    assert {(row.region, len(row.grounds)) for row in whole} >= {("410122", 2), ("410184", 2), ("410185", 2)}
    request.page_size = 2
    pages = await read_pages(callers.refusals.SummarizeRefusals, request)
    assert all(len(page.refusal_summaries) <= 2 for page in pages)
    shown = [row for page in pages for row in page.refusal_summaries]
    assert shown == whole
    request.page_token = pages[0].next_page_token
    request.period = summary_period_pb2.SUMMARY_PERIOD_WEEK
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.SummarizeRefusals(request)
    assert error_info(caught.value).reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    ("request_", "violations"),
    [
        (_report(NOT_LOCAL, ago=-HOUR), {"refuse_time": "TIME_IN_FUTURE"}),
        (_report(NOT_LOCAL, region="419999"), {"region": "REGION_UNKNOWN"}),
        (_report(), {"grounds": "INVALID_FIELD"}),
        (_report(NOT_LOCAL, statement="a\0b"), {"statement": "INVALID_FIELD"}),
        (_report(NOT_LOCAL, document=document("410105186001010018")), {"document.number": "BAD_DOCUMENT_NUMBER"}),
        (_report(NOT_LOCAL, evidence=[paper("PAPER", 0)]), {"evidence": "INVALID_FIELD"}),
        (
            _report(NOT_LOCAL, document=document(NUMBERS[0]), evidence=[paper("A B", SystemClock().now())]),
            {"evidence[0].report_number": "INVALID_FIELD"},
        ),
    ],
)
async def test_faulty_reports(
    callers: Callers, request_: service.ReportRefusalRequest, violations: dict[str, str]
) -> None:
    """INVALID_ARGUMENT names the field and why."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.ReportRefusal(request_)
    assert field_violations(caught.value) == violations


async def test_unknown_names_and_empty_intervals(callers: Callers) -> None:
    """NOT_FOUND for an unknown report; an interval that ends before it begins is a fault."""
    name = "refusals/01890000-0000-7000-8000-000000000000"
    for call in (
        callers.refusals.GetRefusal(service.GetRefusalRequest(name=name)),
        callers.refusals.AnswerRefusal(service.AnswerRefusalRequest(name=name, answer="?")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    now = to_timestamp(SystemClock().now())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.refusals.SummarizeRefusals(
            service.SummarizeRefusalsRequest(interval=Interval(start_time=now, end_time=now))
        )
    assert field_violations(caught.value) == {"interval": "INVALID_FIELD"}
