"""GetResult, LookupLatest and BatchLookupLatest through a real server on SQLite.

Their statements are proven on both engines in tests/storage/results/lookup.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest
from hutong.results.v1 import lab_pb2, lookup_pb2
from hutong.results.v1.lab_service_pb2 import SetLabStandingRequest
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    GetResultRequest,
    LookupLatestRequest,
    LookupLatestResponse,
)
from hutong.type.v1 import identity_pb2

from services.domain.instant import DAY, to_timestamp
from services.results.retention.purge import purge
from services.results.timing import ResultsTiming
from services.runtime.consistency import CommitPosition, LogPosition, encode_token
from services.storage.engine import open_database
from services.verification.sources.lookup_answer import answer_from_message, answers_from_columns
from tests.support.databases import MakeUrl
from tests.support.errors import detail_of, error_info, field_violations
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
from tests.support.results.node import ResultsNode, results_node

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def url(sqlite_url: MakeUrl) -> str:
    """A fresh database, of which `node` is made."""
    return sqlite_url("results")


def ask(person: int, **more: object) -> LookupLatestRequest:
    return LookupLatestRequest(document=make_document(person), **more)  # type: ignore[arg-type]


def claim(number: str, lab: str = LAB_NAME) -> lookup_pb2.ClaimedReport:
    return lookup_pb2.ClaimedReport(lab=lab, report_number=number, report_time=to_timestamp(REPORTED))


async def test_a_result_is_returned_as_it_was_sent_with_masks_for_the_person(node: ResultsNode) -> None:
    await node.upload([make_tube(0, outcome=PENDING), make_tube(0)])
    result = (await node.results.GetResult(GetResultRequest(name=f"{LAB_NAME}/results/R0"))).test_result
    sent = make_tube(0)
    assert (result.name, result.revision, result.lab, result.report_number) == (
        f"{LAB_NAME}/results/R0",
        2,
        LAB_NAME,
        "R0",
    )
    for field in ("tube_code", "pool_size", "specimen", "method", "outcome", "sample_region", "sample_site"):
        assert getattr(result, field) == getattr(sent, field), field
    for field in ("sample_time", "receive_time", "test_time", "report_time"):
        assert getattr(result, field) == getattr(sent, field), field
    assert (result.source_node, result.upload_time) == ("nodes/220000", to_timestamp(NOW))
    assert result.lab_standing == lab_pb2.LAB_STANDING_AUTHORIZED
    number, name = make_document(0).number, make_document(0).name
    assert (result.masked_number, result.masked_name) == (f"{number[:2]}{'*' * 14}{number[-2:]}", f"{name[0]}*")
    first = (await node.results.GetResult(GetResultRequest(name=f"{LAB_NAME}/results/R0@1"))).test_result
    assert (first.revision, first.outcome) == (1, PENDING)


WRONG_NAMES = {
    f"{LAB_NAME}/results/R9": (NOT_FOUND, "NOT_FOUND"),
    f"{LAB_NAME}/results/R0@3": (NOT_FOUND, "NOT_FOUND"),
    f"labs/{OTHER_USCC}/results/R0": (NOT_FOUND, "NOT_FOUND"),
    "": (INVALID, "INVALID_FIELD"),
    f"{LAB_NAME}/results/": (INVALID, "MALFORMED_NAME"),
    f"{LAB_NAME}/results/R0@0": (INVALID, "MALFORMED_NAME"),
    f"{LAB_NAME}/results/R\x000": (INVALID, "MALFORMED_NAME"),
    f"{LAB_NAME}/results/R0/": (INVALID, "MALFORMED_NAME"),
    "labs/91220501MA0HUTNG0U/results/R0": (INVALID, "BAD_USCC"),
}


async def test_a_faulty_read_is_refused_with_its_reason(node: ResultsNode) -> None:
    await node.upload([make_tube(0)])
    told = {}
    for name in WRONG_NAMES:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.results.GetResult(GetResultRequest(name=name))
        told[name] = (caught.value.code(), error_info(caught.value).reason)
    assert told == WRONG_NAMES


async def test_a_look_up_returns_both_sides_claims_and_next_steps(node: ResultsNode) -> None:
    tubes = []
    for days in range(5):
        for region in ("220502", "410105"):
            tube = make_tube(0, reported=REPORTED - days * DAY, region=region)
            tube.persons[0].report_number = f"{region}-{days}"
            tubes.append(tube)
    await node.upload([*tubes, make_tube(1)])
    claims = [claim("220502-4"), claim("R1"), claim("R7"), claim("R0", f"labs/{OTHER_USCC}")]
    response = await node.results.LookupLatest(ask(0, claimed_reports=claims))
    assert [result.report_number for result in response.in_region] == [f"220502-{days}" for days in range(3)]
    assert [result.report_number for result in response.out_of_region] == [f"410105-{days}" for days in range(3)]
    assert [(source.node, source.state) for source in response.sources] == [
        ("nodes/220000", lookup_pb2.SOURCE_STATE_OK),
        ("nodes/000000", lookup_pb2.SOURCE_STATE_NOT_ASKED),
    ]
    assert [(each.state, each.result.report_number, each.lab_standing) for each in response.claims] == [
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, "220502-4", lab_pb2.LAB_STANDING_AUTHORIZED),
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON, "", lab_pb2.LAB_STANDING_AUTHORIZED),
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, "", lab_pb2.LAB_STANDING_AUTHORIZED),
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, "", lab_pb2.LAB_STANDING_UNSPECIFIED),
    ]
    assert [(each.lab, each.report_number) for each in response.next_steps] == [
        (LAB_NAME, "R7"),
        (f"labs/{OTHER_USCC}", "R0"),
    ]


async def test_claims_find_their_laboratory_by_name(node: ResultsNode) -> None:
    """Names are compared in normal form.

    A claim that identifies no report is NOT_COMPARABLE and makes no missing report.
    """
    await node.upload([make_tube(0), make_tube(1)])
    named = [("通化 第一检验所", "R0"), ("通化第一检验所", "R1"), ("通化第一检验所", "R8"), ("通化第一检验所", "")]
    named += [("第一检验所", "R9"), ("", "R0")]
    claims = [lookup_pb2.ClaimedReport(lab_name=name, report_number=number) for name, number in named]
    response = await node.results.LookupLatest(ask(0, claimed_reports=claims))
    not_comparable = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_COMPARABLE
    assert [(each.state, each.lab) for each in response.claims] == [
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, LAB_NAME),
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON, LAB_NAME),
        (lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, LAB_NAME),
        (not_comparable, LAB_NAME),
        (not_comparable, ""),
        (not_comparable, ""),
    ]
    assert [[it.name for it in each.possible_results] for each in response.claims] == [[]] * 5 + [
        [f"{LAB_NAME}/results/R0"]
    ]
    assert [(each.lab, each.report_number) for each in response.next_steps] == [(LAB_NAME, "R8")]


async def test_a_look_up_says_that_the_nation_was_not_asked_unless_its_scope_is_local(node: ResultsNode) -> None:
    """A single answer and a batch both say so: an unset scope is like LOCAL, and the answer names what was left out."""
    not_asked = ("nodes/000000", lookup_pb2.SOURCE_STATE_NOT_ASKED)
    for scope, expected in ((lookup_pb2.LOOKUP_SCOPE_UNSPECIFIED, [not_asked]), (lookup_pb2.LOOKUP_SCOPE_LOCAL, [])):
        question = ask(0, scope=scope)
        alone = await node.results.LookupLatest(question)
        batch = await node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=[question]))
        for response in (alone, batch.items[0].response):
            assert [(source.node, source.state) for source in response.sources[1:]] == expected


async def test_a_nationwide_look_up_says_that_no_national_node_was_asked(node: ResultsNode) -> None:
    response = await node.results.LookupLatest(ask(0, scope=lookup_pb2.LOOKUP_SCOPE_NATIONWIDE))
    assert [(source.node, source.state) for source in response.sources] == [
        ("nodes/220000", lookup_pb2.SOURCE_STATE_OK),
        ("nodes/000000", lookup_pb2.SOURCE_STATE_NOT_CONFIGURED),
    ]


async def test_a_limit_never_hides_a_positive(node: ResultsNode) -> None:
    old = make_tube(0, outcome=POSITIVE, reported=REPORTED - 9 * DAY, sampled=REPORTED - 10 * DAY)
    newer = [make_tube(0, outcome=PENDING, sampled=REPORTED - days * DAY) for days in range(5)]
    for place, tube in enumerate(newer):
        tube.persons[0].report_number = f"P{place}"
    await node.upload([old, *newer])
    response = await node.results.LookupLatest(ask(0, limit=2))
    assert [result.report_number for result in response.in_region] == ["P0", "P1", "R0"]


async def test_an_acknowledged_batch_is_seen_by_the_next_look_up(node: ResultsNode) -> None:
    """Each of ten batches is looked up once without and once with its consistency token."""
    for person in range(10):
        answers = await node.upload([make_tube(person)], f"u{person}")
        for token in ("", answers[-1].consistency_token):
            response = await node.results.LookupLatest(ask(person, at_least_as_fresh=token))
            assert [result.report_number for result in response.in_region] == [f"R{person}"]


async def test_a_suspension_stops_what_was_reported_under_it_from_the_acknowledgement_on(node: ResultsNode) -> None:
    await node.upload([make_tube(0), make_tube(1, reported=REPORTED - 2 * DAY)])
    await node.results.LookupLatest(ask(0))
    await node.labs.SetLabStanding(
        SetLabStandingRequest(
            name=LAB_NAME,
            standing=lab_pb2.LAB_STANDING_SUSPENDED,
            reason="red light",
            effective_time=to_timestamp(REPORTED - DAY),
        )
    )
    (now,) = (await node.results.LookupLatest(ask(0))).in_region
    (before,) = (await node.results.LookupLatest(ask(1))).in_region
    assert now.lab_standing == lab_pb2.LAB_STANDING_SUSPENDED
    assert before.lab_standing == lab_pb2.LAB_STANDING_AUTHORIZED


WRONG = {
    "no document": (LookupLatestRequest(), {"document": "INVALID_FIELD"}),
    "check character": (
        LookupLatestRequest(document=identity_pb2.IdentityDocument(type=1, number="410105186001010011")),
        {"document.number": "BAD_DOCUMENT_NUMBER"},
    ),
    "passport of nowhere": (
        LookupLatestRequest(document=identity_pb2.IdentityDocument(type=5, number="E12345678")),
        {"document.issuing_country": "BAD_DOCUMENT_NUMBER"},
    ),
    "limit": (ask(0, limit=21), {"limit": "INVALID_FIELD"}),
    "token": (ask(0, at_least_as_fresh="x"), {"at_least_as_fresh": "INVALID_CONSISTENCY_TOKEN"}),
    "claims": (ask(0, claimed_reports=[claim("R0")] * 11), {"claimed_reports": "INVALID_FIELD"}),
    "claimed laboratory": (
        ask(0, claimed_reports=[claim("R0"), claim("R0", "labs/1")]),
        {"claimed_reports[1].lab": "MALFORMED_NAME"},
    ),
    "claimed nothing": (
        ask(0, claimed_reports=[lookup_pb2.ClaimedReport(lab_name=" ")]),
        {"claimed_reports[0].lab": "INVALID_FIELD"},
    ),
    "claimed NUL": (ask(0, claimed_reports=[claim("R\0")]), {"claimed_reports[0].report_number": "INVALID_FIELD"}),
}


async def test_a_faulty_look_up_is_refused_with_its_reason(node: ResultsNode) -> None:
    told = {}
    for wrong, (request, violations) in WRONG.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.results.LookupLatest(request)
        told[wrong] = field_violations(caught.value)
        assert caught.value.code() == INVALID
        assert [error_info(caught.value).reason] == list(violations.values())
    assert told == {wrong: violations for wrong, (_, violations) in WRONG.items()}


async def test_a_batch_is_answered_in_order_and_faulty_items_harm_no_other(node: ResultsNode) -> None:
    """Each good one as a call of its own would be answered, each faulty one with that call's own status."""
    await node.upload(make_tubes(20))
    requests: list[LookupLatestRequest] = []
    for person, (faulty, _) in enumerate(WRONG.values()):
        requests += [ask(person), faulty]
    requests += [ask(99), ask(3), ask(3, claimed_reports=[claim("R4")])]
    items = (await node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=requests))).items
    assert len(items) == len(requests)
    for request, item in zip(requests, items, strict=True):
        alone = await outcome_of(node.results.LookupLatest(request))
        if isinstance(alone, LookupLatestResponse):
            assert item.response == alone
            continue
        assert item.error.code == alone.code().value[0]
        assert detail_of(item.error, error_details_pb2.ErrorInfo) == error_info(alone)
        bad = detail_of(item.error, error_details_pb2.BadRequest)
        assert {each.field: each.reason for each in bad.field_violations} == field_violations(alone)


async def outcome_of(call: Any) -> LookupLatestResponse | grpc.aio.AioRpcError:
    try:
        response: LookupLatestResponse = await call
    except grpc.aio.AioRpcError as error:
        return error
    return response


async def test_look_ups_that_meet_a_faulty_one_are_answered_all_the_same(node: ResultsNode) -> None:
    """Calls that arrive together share one read of the store: a poisoned one fails by itself."""
    await node.upload(make_tubes(10))
    faulty = [request for request, _ in WRONG.values()]
    calls = [node.results.LookupLatest(request) for person in range(10) for request in (ask(person), *faulty)]

    outcomes = await asyncio.gather(*(outcome_of(call) for call in calls))
    found = [
        each.in_region[0].report_number if isinstance(each, LookupLatestResponse) else each.code().name
        for each in outcomes
    ]
    assert found[:: len(faulty) + 1] == [f"R{person}" for person in range(10)]
    assert set(found) - {f"R{person}" for person in range(10)} == {"INVALID_ARGUMENT"}


async def test_columns_say_what_messages_say(node: ResultsNode) -> None:
    """Every person has the same results and sources, except masks.

    Answers that do not fit into columns are messages.
    """
    tubes = [make_tube(0, outcome=PENDING), make_tube(0), make_tube(1, outcome=PENDING), *make_tubes(9)[2:]]
    elsewhere = make_tube(3, region="410105", site="")
    elsewhere.persons[0].report_number = "S3"
    elsewhere.ClearField("receive_time")
    await node.upload([*tubes, elsewhere])
    faulty, _ = WRONG["check character"]
    requests = [ask(0), faulty, ask(1), ask(99), ask(3, claimed_reports=[claim("R4")]), ask(3, limit=1), ask(5), faulty]
    items = (await node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=requests))).items
    answer = await node.internal_lookup.BatchLookupColumns(BatchLookupColumnsRequest(requests=requests))

    apart = list(answer.columns.item_requests)
    assert apart == [1, 4, 7]
    assert [item.WhichOneof("item") for item in answer.items] == ["error", "response", "error"]
    assert [item.error for item in answer.items] == [items[index].error for index in apart]
    assert answer.items[1].response.claims == items[4].response.claims
    assert answer.items[1].response.in_region == items[4].response.in_region
    plain = [item.response for index, item in enumerate(items) if index not in apart]
    together = answers_from_columns(answer.columns)
    assert [len(one.records) for one in together] == [1, 1, 0, 2, 1]
    for one, message in zip(together, map(answer_from_message, plain), strict=True):
        assert one.records == message.records
        assert list(one.results()) == list(message.results())
        assert [source[:2] for source in one.sources] == [source[:2] for source in message.sources]


async def test_a_batch_has_one_to_five_hundred_items(node: ResultsNode) -> None:
    for count in (0, 501):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=[ask(0)] * count))
        assert (caught.value.code(), field_violations(caught.value)) == (INVALID, {"requests": "INVALID_FIELD"})


async def test_the_largest_batch_is_answered(node: ResultsNode) -> None:
    """500 persons with a result in and one out of the region each."""
    tubes = make_tubes(500) + make_tubes(500)
    for tube in tubes[500:]:
        tube.sample_region = "410105"
        tube.persons[0].report_number = f"S{tube.persons[0].report_number}"
    await node.upload(tubes)
    requests = [ask(person) for person in range(500)]
    items = (await node.results.BatchLookupLatest(BatchLookupLatestRequest(requests=requests))).items
    assert [item.response.in_region[0].report_number for item in items] == [f"R{person}" for person in range(500)]
    assert {item.response.out_of_region[0].outcome for item in items} == {NEGATIVE}


async def test_what_another_node_has_committed_is_not_seen_here(tmp_path: Path, url: str) -> None:
    """The token of another node is not ignored.

    The error is UNAVAILABLE, because the answer could be older than the commit.
    """
    token = encode_token(CommitPosition("results", "410000", LogPosition("a", 1, 1)))
    async with results_node(tmp_path, url, timing=ResultsTiming(token_wait=0.1)) as node:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.results.LookupLatest(ask(0, at_least_as_fresh=token))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(caught.value).reason == "NOT_FRESH_ENOUGH"


async def test_no_laboratory_is_asked_to_upload_what_retention_has_removed(node: ResultsNode, url: str) -> None:
    """A claimed report from before the horizon is marked so. A later one, or one without a time, is to be uploaded."""
    await node.upload([make_tube(0, reported=REPORTED - 70 * DAY), make_tube(1)])
    database = open_database(url)
    horizon = purge(database, REPORTED - 30 * DAY, NOW).horizon
    database.close()
    claims = [claim("R0"), claim("R8"), claim("R1"), claim("R9")]
    claims[0].report_time.CopyFrom(to_timestamp(horizon - 1))
    claims[1].report_time.CopyFrom(to_timestamp(horizon))
    claims[2].report_time.CopyFrom(to_timestamp(REPORTED - 70 * DAY))
    claims[3].ClearField("report_time")
    response = await node.results.LookupLatest(ask(1, claimed_reports=claims))
    assert [each.state for each in response.claims] == [lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND] * 2 + [
        lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND,
        lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    ]
    assert [each.HasField("retention_start_time") for each in response.claims] == [True, False, False, False]
    assert response.claims[0].retention_start_time == to_timestamp(horizon)
    assert [each.report_number for each in response.next_steps] == ["R8", "R9"]
    batch = BatchLookupColumnsRequest(requests=[ask(1)])
    columns = (await node.internal_lookup.BatchLookupColumns(batch)).columns
    nationwide = await node.results.LookupLatest(ask(1, scope=lookup_pb2.LOOKUP_SCOPE_NATIONWIDE))
    for own in (response.sources[0], columns.sources[0], nationwide.sources[0]):
        assert own.retention_start_time == to_timestamp(horizon)
