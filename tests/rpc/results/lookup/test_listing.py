"""ListResults through a real server: pages, filters, tokens that cannot be forged, and every documented error."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import grpc
import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.result_pb2 import RESULT_STATE_ACTIVE, RESULT_STATE_SUPERSEDED, TestResult
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_service_pb2 import ListResultsRequest, ListResultsResponse
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_RESIDENT_ID_CARD, IdentityDocument

from services.domain.instant import DAY, HOUR, to_timestamp
from services.results.retention.purge import purge
from services.runtime.page_tokens import PageTokens
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import Failure, failure_of
from tests.support.lists import read_pages
from tests.support.results.factories import (
    LAB_NAME,
    NOW,
    OTHER_USCC,
    POSITIVE,
    REPORTED,
    make_document,
    make_tube,
    make_tubes,
)
from tests.support.results.node import ResultsNode, results_node

INVALID = grpc.StatusCode.INVALID_ARGUMENT
FORGED = (INVALID, "INVALID_PAGE_TOKEN", ["page_token"])
PERSON = make_document(0)


async def pages(node: ResultsNode, request: ListResultsRequest) -> list[list[TestResult]]:
    """All pages to the last, which has no token."""
    return [list(page.test_results) for page in await read_pages(node.results.ListResults, request)]


async def test_a_laboratorys_and_a_persons_results_are_paged(node: ResultsNode) -> None:
    """A laboratory's by number, a person's newest first; the last page has no token, be it full."""
    tubes = []
    for place in range(7):
        tube = make_tube(place, reported=REPORTED - place * HOUR)
        tube.persons[0].document.CopyFrom(PERSON)
        tubes.append(tube)
    await node.upload([*tubes, make_tube(8), make_tube(9)])
    by_lab = await pages(node, ListResultsRequest(lab=LAB_NAME, page_size=3))
    assert [[each.report_number for each in page] for page in by_lab] == [
        ["R0", "R1", "R2"],
        ["R3", "R4", "R5"],
        ["R6", "R8", "R9"],
    ]
    by_person = await pages(node, ListResultsRequest(document=PERSON, page_size=4))
    assert [[each.report_number for each in page] for page in by_person] == [
        ["R0", "R1", "R2", "R3"],
        ["R4", "R5", "R6"],
    ]
    assert by_person[0][0] == by_lab[0][0]
    assert await pages(node, ListResultsRequest(document=make_document(77))) == [[]]
    assert await pages(node, ListResultsRequest(lab=f"labs/{OTHER_USCC}")) == [[]]


async def test_pages_have_fifty_results_and_never_more_than_five_hundred(node: ResultsNode) -> None:
    await node.upload(make_tubes(503))
    for asked, lengths in ((0, [50] * 10 + [3]), (500, [500, 3]), (501, [500, 3]), (2**31 - 1, [500, 3])):
        assert [len(page) for page in await pages(node, ListResultsRequest(lab=LAB_NAME, page_size=asked))] == lengths


async def test_filters_narrow(node: ResultsNode) -> None:
    await node.upload([make_tube(0), make_tube(1, outcome=POSITIVE), make_tube(2, reported=REPORTED - DAY)])

    async def listed(**fields: Any) -> list[str]:
        (page,) = await pages(node, ListResultsRequest(lab=LAB_NAME, **fields))
        return [result.report_number for result in page]

    assert await listed(outcomes=[POSITIVE]) == ["R1"]
    assert await listed(states=[RESULT_STATE_SUPERSEDED]) == []
    await node.admin.CorrectResult(
        CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=POSITIVE, reason="a slip")
    )
    assert await listed(states=[RESULT_STATE_SUPERSEDED]) == ["R0"]
    assert await listed(states=[RESULT_STATE_SUPERSEDED, RESULT_STATE_ACTIVE]) == ["R0", "R0", "R1", "R2"]
    assert await listed(report_interval=Interval(start_time=to_timestamp(REPORTED))) == ["R0", "R1"]
    assert await listed(report_interval=Interval(end_time=to_timestamp(REPORTED))) == ["R2"]


async def test_a_token_serves_the_request_it_was_issued_for_alone(node: ResultsNode) -> None:
    """The page size may change.

    With another laboratory, person or filter the token is refused, and so is a changed token.
    """
    await node.upload(make_tubes(10))
    request = ListResultsRequest(lab=LAB_NAME, page_size=2)
    token = (await node.results.ListResults(request)).next_page_token
    wider = await node.results.ListResults(ListResultsRequest(lab=LAB_NAME, page_size=9, page_token=token))
    assert [result.report_number for result in wider.test_results] == [f"R{place}" for place in range(2, 10)]
    for other in (
        ListResultsRequest(lab=f"labs/{OTHER_USCC}"),
        ListResultsRequest(document=PERSON),
        ListResultsRequest(lab=LAB_NAME, outcomes=[POSITIVE]),
        ListResultsRequest(lab=LAB_NAME, report_interval=Interval(start_time=to_timestamp(NOW))),
    ):
        other.page_token = token
        assert await failure_of(node.results.ListResults(other)) == FORGED
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        request.page_token = changed
        try:
            answer: ListResultsResponse = await node.results.ListResults(request)
        except grpc.aio.AioRpcError:
            continue
        # The last character's spare bits say nothing.
        assert place == len(token) - 1
        assert answer.test_results[0].report_number == "R2"


async def test_a_token_cannot_be_made_without_the_secret(node: ResultsNode) -> None:
    """A caller that knows the format and content of tokens still needs the node's pepper."""
    await node.upload(make_tubes(3))
    request = ListResultsRequest(lab=LAB_NAME)
    forgeries = [
        PageTokens([secret]).issue(request, position)
        for secret in (b"", b"guess" * 8)
        for position in (["R0", 1], ["R0"], [], [None, 1], ["R\0", 1], [7, 1], [{}, 1], ["R0", "1"])  # type: ignore[list-item]
    ]
    forgeries += [base64.urlsafe_b64encode(orjson.dumps(["R0", 1])).decode(), "A", "=", "é", "x" * 512, "\0"]
    for token in forgeries:
        request.page_token = token
        assert await failure_of(node.results.ListResults(request)) == FORGED


async def test_a_node_of_another_process_takes_the_same_tokens(tmp_path: Path, postgres_url: MakeUrl) -> None:
    """Stateless: the secret is the nation's pepper."""
    url = postgres_url("results")
    async with results_node(tmp_path, url) as node, results_node(tmp_path, url) as other:
        await node.register()
        await node.upload(make_tubes(3))
        request = ListResultsRequest(lab=LAB_NAME, page_size=1)
        request.page_token = (await node.results.ListResults(request)).next_page_token
        assert await other.results.ListResults(request) == await node.results.ListResults(request)


BAD = IdentityDocument(type=DOCUMENT_TYPE_RESIDENT_ID_CARD, number="410105186001010011")
FAR = Timestamp(seconds=10**15)
WRONG: dict[str, tuple[ListResultsRequest, Failure]] = {
    "nobody": (ListResultsRequest(), (INVALID, "INVALID_FIELD", ["subject"])),
    "malformed": (ListResultsRequest(lab="labs/x"), (INVALID, "MALFORMED_NAME", ["lab"])),
    "check character": (ListResultsRequest(lab="labs/91220501MA0HUTNG0U"), (INVALID, "BAD_USCC", ["lab"])),
    "document": (ListResultsRequest(document=BAD), (INVALID, "BAD_DOCUMENT_NUMBER", ["document.number"])),
    "outcome": (ListResultsRequest(lab=LAB_NAME, outcomes=[99]), (INVALID, "INVALID_FIELD", ["outcomes[0]"])),  # type: ignore[list-item]
    "state": (ListResultsRequest(lab=LAB_NAME, states=[1, 9]), (INVALID, "INVALID_FIELD", ["states[1]"])),  # type: ignore[list-item]
    "size": (ListResultsRequest(lab=LAB_NAME, page_size=-1), (INVALID, "INVALID_FIELD", ["page_size"])),
    "long token": (ListResultsRequest(lab=LAB_NAME, page_token="x" * 513), (INVALID, "INVALID_FIELD", ["page_token"])),
    "beyond time": (
        ListResultsRequest(lab=LAB_NAME, report_interval=Interval(start_time=FAR, end_time=FAR)),
        (INVALID, "INVALID_FIELD", ["report_interval"]),
    ),
}


async def test_a_faulty_listing_is_refused_with_its_reason(node: ResultsNode) -> None:
    answers = {name: await failure_of(node.results.ListResults(request)) for name, (request, _) in WRONG.items()}
    assert answers == {name: expected for name, (_, expected) in WRONG.items()}


async def test_a_listing_says_which_times_were_removed(node: ResultsNode, url: str) -> None:
    """A question about them alone fails; any other is answered with the horizon."""
    await node.upload([make_tube(0, reported=REPORTED - 70 * DAY), make_tube(1)])
    assert not (await node.results.ListResults(ListResultsRequest(lab=LAB_NAME))).HasField("retention_start_time")
    database = open_database(url)
    horizon = purge(database, REPORTED - 30 * DAY, NOW).horizon
    database.close()
    for whose in ({"lab": LAB_NAME}, {"document": PERSON}):
        past = ListResultsRequest(report_interval=Interval(end_time=to_timestamp(horizon)), **whose)  # type: ignore[arg-type]
        code = grpc.StatusCode.FAILED_PRECONDITION
        assert await failure_of(node.results.ListResults(past)) == (code, "BEFORE_HORIZON", [])
        response = await node.results.ListResults(ListResultsRequest(**whose))  # type: ignore[arg-type]
        assert response.retention_start_time == to_timestamp(horizon)
