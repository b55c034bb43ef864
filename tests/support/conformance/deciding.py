"""Checks 15 to 21: reading results and deciding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from hutong.policy.v1.policy_pb2 import TRAVELER_ORIGIN_OTHER_PROVINCE
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE, LOOKUP_SCOPE_UNSPECIFIED
from hutong.results.v1.result_pb2 import TestResult
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import (
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyRequest,
    VerifyResponse,
)

from services.domain.instant import HOUR, from_timestamp, to_timestamp
from tests.support.conformance.adapter import ClientError, read_json, to_json
from tests.support.conformance.case import RESULTS, TIMEOUT_MS, VERIFICATION, Case, failing
from tests.support.conformance.world import BATCH_PERSONS, REGION, TWO_RULES_REGION, batch_lab
from tests.support.results.factories import PENDING, make_document

VERIFY = f"{VERIFICATION}/Verify"
UNKNOWN_VALUE = 99
"""A value of an enum that a newer service may return."""
ANSWER_MS = 20_000
"""The deadline of a question to a nation that never answers. The service gives up long before it."""


async def fresh_token(case: Case) -> None:
    """A look-up and a decision with an upload's token see the upload. A garbled token is refused by its field."""
    async with case.province("results") as results, case.province("verification") as verification:
        [answer] = await case.upload(results, "u", [case.tube(0)])
        asked = {"document": to_json(make_document(case.first)), "atLeastAsFresh": answer.consistency_token}
        found = await case.call(results, f"{RESULTS}/LookupLatest", asked)
        assert [it["reportNumber"] for it in found["inRegion"]] == [f"R{case.first}"]
        decision = await _verify(case, verification, case.first, at_least_as_fresh=answer.consistency_token)
        assert decision.reason == pb.DECISION_REASON_VALID
        for channel, method, request in (
            (results, f"{RESULTS}/LookupLatest", asked | {"atLeastAsFresh": "garbage"}),
            (verification, VERIFY, _question(case.first, at_least_as_fresh="garbage")),
        ):
            error = await failing(case.call(channel, method, request))
            assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_CONSISTENCY_TOKEN")
            assert error.fields == ["at_least_as_fresh"]


async def batch_in_order(case: Case) -> None:
    """The answers of a batch are in the order of the questions. A faulty question has an error of its own."""
    count = 60 if case.is_distant else BATCH_PERSONS
    persons = [7 * index % BATCH_PERSONS for index in range(count)]
    faulty = count // 2
    questions = [_question(person) for person in persons]
    questions[faulty].region = "999999"
    async with case.province("verification") as channel:
        sent = [to_json(question) for question in questions]
        answer = await case.adapter.ask("batch_verify", channel=channel, requests=sent, timeout_ms=TIMEOUT_MS)
    items = answer["items"]
    error = ClientError(items[faulty]["error"])
    assert error.is_typed
    assert (error.code, error.reason, error.fields) == ("INVALID_ARGUMENT", "REGION_UNKNOWN", ["region"])
    decided = [item["decision"]["result"] for index, item in enumerate(items) if index != faulty]
    lab = batch_lab()
    assert decided == [f"{lab}/results/R{person}@1" for index, person in enumerate(persons) if index != faulty]


async def stream_out_of_order(case: Case) -> None:
    """Answers of a stream belong to their questions in whatever order they come. An error does not end the stream."""

    async def reversed_answers(requests: AsyncIterator[Any]) -> AsyncIterator[StreamVerifyResponse]:
        asked = [request async for request in requests]
        for index, request in enumerate(reversed(asked)):
            if index == 1:
                error = status_pb2.Status(code=8, message="not now")
                yield StreamVerifyResponse(correlation_id=request.correlation_id, error=error)
                continue
            decision = pb.Decision(name=request.request.document.number)
            yield StreamVerifyResponse(correlation_id=request.correlation_id, decision=decision)

    questions = [StreamVerifyRequest(correlation_id=f"c{it}", request=_question(it)) for it in range(20)]
    async with case.fake({f"{VERIFICATION}/StreamVerify": reversed_answers}) as channel:
        answers = await _stream(case, channel, questions)
    assert [it["correlation_id"] for it in answers] == [f"c{it}" for it in reversed(range(20))]
    assert "error" in answers[1]
    for it in (answers[0], *answers[2:]):
        assert it["decision"]["name"] == make_document(int(it["correlation_id"][1:])).number
    questions[7].request.region = "999999"
    async with case.province("verification") as channel:
        found = {it["correlation_id"]: it for it in await _stream(case, channel, questions)}
    error = ClientError(found.pop("c7")["error"])
    assert error.is_typed
    assert error.reason == "REGION_UNKNOWN"
    assert {name: it["decision"]["result"] for name, it in found.items()} == {
        f"c{it}": f"{batch_lab()}/results/R{it}@1" for it in range(20) if it != 7
    }


async def unknown_value(case: Case) -> None:
    """An outcome or an action that the client does not know opens no gate."""
    answers = [
        (pb.Decision(outcome=UNKNOWN_VALUE, action=UNKNOWN_VALUE), False),  # type: ignore[arg-type]
        (pb.Decision(outcome=pb.DECISION_OUTCOME_RECOGNIZED, action=UNKNOWN_VALUE), False),  # type: ignore[arg-type]
        (pb.Decision(outcome=pb.DECISION_OUTCOME_RECOGNIZED), False),
        (pb.Decision(action=pb.GATE_ACTION_ASK_AGAIN, then_action=pb.GATE_ACTION_LET_IN), False),
        (pb.Decision(action=pb.GATE_ACTION_MAY_BE_REFUSED), False),
        (pb.Decision(outcome=UNKNOWN_VALUE, action=pb.GATE_ACTION_LET_IN), True),  # type: ignore[arg-type]
        (pb.Decision(action=pb.GATE_ACTION_LET_IN_AND_REGISTER), True),
    ]

    async def verify(request: VerifyRequest) -> VerifyResponse:
        return VerifyResponse(decision=answers[int(request.document.number)][0])

    async with case.fake({VERIFY: verify}) as channel:
        for index, (_, opens) in enumerate(answers):
            request = {"document": {"number": str(index)}}
            found = await case.adapter.ask("gate", channel=channel, request=request, timeout_ms=TIMEOUT_MS)
            assert found["opens"] is opens, (index, found)


async def scopes(case: Case) -> None:
    """At a province each scope finds its own records; a lack counts only nationwide; a silent nation refuses no one."""
    nobody = case.first + 900
    async with case.province("verification") as channel:
        for scope in (LOOKUP_SCOPE_UNSPECIFIED, LOOKUP_SCOPE_LOCAL, LOOKUP_SCOPE_NATIONWIDE):
            assert (await _verify(case, channel, 0, scope=scope)).reason == pb.DECISION_REASON_VALID
        local = await _verify(case, channel, nobody, scope=LOOKUP_SCOPE_LOCAL)
        assert (local.outcome, local.reason) == (
            pb.DECISION_OUTCOME_UNDETERMINED,
            pb.DECISION_REASON_NATION_NOT_ASKED,
        )
        assert not local.refusal_permitted
        for scope in (LOOKUP_SCOPE_UNSPECIFIED, LOOKUP_SCOPE_NATIONWIDE):
            lack = await _verify(case, channel, nobody, scope=scope)
            assert (lack.reason, lack.refusal_permitted) == (pb.DECISION_REASON_NO_RESULT, True)
    async with case.channel(case.world.cut_off["verification"]) as channel:
        assert (await _verify(case, channel, 0)).reason == pb.DECISION_REASON_VALID
        for scope in (LOOKUP_SCOPE_UNSPECIFIED, LOOKUP_SCOPE_NATIONWIDE):
            silent = await _verify(case, channel, nobody, scope=scope)
            assert (silent.outcome, silent.reason) == (
                pb.DECISION_OUTCOME_UNDETERMINED,
                pb.DECISION_REASON_SOURCE_UNAVAILABLE,
            )
            assert not silent.refusal_permitted
            assert pb.GATE_ACTION_MAY_BE_REFUSED not in (silent.action, silent.then_action)


async def instants(case: Case) -> None:
    """Instants keep their microseconds, midnight in Shanghai is the day before in UTC, and absent stays absent."""
    day = case.reported // (24 * HOUR) * 24 * HOUR - 8 * HOUR - 24 * HOUR
    midnight, precise = to_timestamp(day), to_timestamp(case.reported // 1_000_000 * 1_000_000 + 123_456)
    tube, waiting = to_json(case.tube(0)), to_json(case.tube(1, outcome=PENDING))
    # The same instant as a laboratory in Shanghai writes it.
    written = Timestamp()
    written.FromSeconds(midnight.seconds + 8 * 3600)
    tube["sampleTime"] = written.ToDatetime().isoformat() + "+08:00"
    tube["reportTime"] = tube["testTime"] = precise.ToJsonString()
    async with case.province("results") as channel:
        lab = await case.lab()
        operation = case.adapter.start(
            "upload", channel=channel, lab=lab, upload_id="u", tubes=[tube, waiting], batch=0
        )
        [event] = await operation.all("acknowledged")
        assert event["response"].get("acceptedCount") == 2, event
        found = []
        for index in range(2):
            request = {"name": f"{lab}/results/R{case.first + index}"}
            response = await case.call(channel, f"{RESULTS}/GetResult", request)
            found.append(read_json(response["testResult"], TestResult()))
    full, pending = found
    assert from_timestamp(full.sample_time) == day
    assert full.sample_time.ToJsonString().endswith("T16:00:00Z")
    assert (full.report_time, full.test_time) == (precise, precise)
    assert not pending.HasField("report_time")
    assert not pending.HasField("test_time")


async def unknown_origin(case: Case) -> None:
    """If the origin is not known, the better of two rules is the answer, and the decision says which it assumed."""
    reported = case.reported - 24 * HOUR
    async with case.province("results") as results, case.province("verification") as channel:
        await case.upload(results, "u", [case.tube(0, reported=reported)])

        async def decide(arriving_from: str) -> pb.Decision:
            asked = {"region": TWO_RULES_REGION, "arriving_from": arriving_from, "scope": LOOKUP_SCOPE_UNSPECIFIED}
            return await _verify(case, channel, case.first, **asked)

        for nowhere in ("", "000000"):
            unknown = await decide(nowhere)
            assert unknown.reason == pb.DECISION_REASON_VALID
            assert unknown.action == pb.GATE_ACTION_LET_IN
            assert unknown.assumed_origin == TRAVELER_ORIGIN_OTHER_PROVINCE
            assert unknown.governing_source.document_number == "example"
        assert (await decide("220100")).reason == pb.DECISION_REASON_EXPIRED
        assert (await decide("370200")).reason == pb.DECISION_REASON_VALID


def _question(person: int, **fields: Any) -> VerifyRequest:
    """Return a question that the node's own records answer, unless `fields` has another scope."""
    values = {"region": REGION, "purpose": PURPOSE_HOTEL, "scope": LOOKUP_SCOPE_LOCAL} | fields
    return VerifyRequest(document=make_document(person), **values)


async def _verify(case: Case, channel: str, person: int, **fields: Any) -> pb.Decision:
    response = await case.call(channel, VERIFY, _question(person, **fields), timeout_ms=ANSWER_MS)
    decision: pb.Decision = read_json(response["decision"], pb.Decision())
    return decision


async def _stream(case: Case, channel: str, questions: Sequence[StreamVerifyRequest]) -> list[Mapping[str, Any]]:
    sent = [{"correlation_id": it.correlation_id, "request": to_json(it.request)} for it in questions]
    return await case.adapter.start("stream_verify", channel=channel, questions=sent).all("answer")
