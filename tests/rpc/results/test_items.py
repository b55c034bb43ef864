"""Tests of several items through a real server: each is stored, found, corrected and recalled as what it is."""

from __future__ import annotations

import grpc
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.exchange_service_pb2 import LookupSubjectsRequest
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest
from hutong.results.v1.lookup_pb2 import CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM, LOOKUP_SCOPE_NATIONWIDE, ClaimedReport
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import (
    ListResultsRequest,
    LookupLatestRequest,
    ResultFilter,
    WatchResultsRequest,
)
from hutong.results.v1.upload_service_pb2 import UploadResultsResponse
from hutong.type.v1.outcome_pb2 import OUTCOME_UNSPECIFIED

from services.domain.instant import HOUR, MINUTE, to_timestamp
from tests.support.errors import failure_of
from tests.support.results.country import HENAN, JILIN, Country
from tests.support.results.factories import (
    ANTIGEN,
    DEFAULT_ITEM_NAME,
    HEPATITIS,
    LAB_NAME,
    NEGATIVE,
    NOW,
    PENDING,
    REPORTED,
    make_document,
    make_tube,
    subject_key,
)
from tests.support.results.node import ResultsNode
from tests.support.waiting import TIMEOUT_SECONDS, until

ANTIGEN_OF_0 = make_tube(0, item=ANTIGEN, reported=REPORTED - HOUR)
ANTIGEN_OF_0.tube_code, ANTIGEN_OF_0.persons[0].report_number = "A0", "A0"
LAST_MONTH = Interval(start_time=to_timestamp(REPORTED - 700 * HOUR), end_time=to_timestamp(NOW))


def faults(answers: list[UploadResultsResponse]) -> list[tuple[str, str]]:
    """Return field and reason of each fault of an upload."""
    rejections = [rejection for answer in answers for rejection in answer.rejections]
    return [(fault.field, fault.reason) for rejection in rejections for fault in rejection.violations]


async def numbers(node: ResultsNode, *items: str, person: int = 0) -> list[tuple[str, str]]:
    """Return report number and item of each result that a look-up finds."""
    found = await node.results.LookupLatest(LookupLatestRequest(document=make_document(person), items=items))
    return [(result.report_number, result.item) for result in found.in_region]


async def test_an_item_that_is_not_admitted_uses_up_no_report_number(node: ResultsNode) -> None:
    """The same batch is stored once its upload admits the item; a look-up finds each item only if it asks for it."""
    tubes = [make_tube(0, item=DEFAULT_ITEM_NAME), ANTIGEN_OF_0]
    assert faults(await node.upload(tubes)) == [("item", "ITEM_NOT_ADMITTED")]
    (answer,) = await node.upload(tubes, "admitting", items=[ANTIGEN])
    assert (answer.accepted_count, answer.duplicate_count) == (1, 1)
    assert faults(await node.upload(tubes, "again")) == [("item", "ITEM_NOT_ADMITTED")]
    assert await numbers(node) == [("R0", "")]
    assert await numbers(node, DEFAULT_ITEM_NAME) == [("R0", "")]
    assert await numbers(node, ANTIGEN) == [("A0", ANTIGEN)]
    assert await numbers(node, ANTIGEN, "") == [("R0", ""), ("A0", ANTIGEN)]
    assert await numbers(node, HEPATITIS) == []


async def test_a_report_has_one_item(node: ResultsNode) -> None:
    """A second one is a conflict that names the field: stored, in one batch, in a dry run, after a sampling record."""
    await node.upload([make_tube(0), make_tube(1, outcome=PENDING)])
    second = [make_tube(0, item=ANTIGEN), make_tube(1, item=ANTIGEN)]
    conflicts = [("item", "CONFLICT")] * 2
    assert faults(await node.upload(second, "dry", items=[ANTIGEN], validate_only=True)) == conflicts
    assert faults(await node.upload(second, "two", items=[ANTIGEN])) == conflicts
    both = [make_tube(2, item=ANTIGEN), make_tube(2)]
    for upload_id, validate_only in (("dry", True), ("three", False)):
        answers = await node.upload(both, upload_id, batch=1, items=[ANTIGEN], validate_only=validate_only)
        assert faults(answers) == conflicts[:1]
    assert (
        faults(await node.upload([make_tube(3, item=ANTIGEN), make_tube(3)], "four", items=[ANTIGEN])) == conflicts[:1]
    )
    assert await numbers(node, ANTIGEN, person=2) == [("R2", ANTIGEN)]
    assert faults(await node.upload([make_tube(1)], "five")) == []
    assert faults(await node.upload([make_tube(0, site="elsewhere")], "six")) == [("sample_site", "CONFLICT")]


async def test_listings_watches_columns_corrections_and_recalls_know_the_item(node: ResultsNode) -> None:
    await node.upload([make_tube(0), ANTIGEN_OF_0], items=[ANTIGEN])
    listing = ListResultsRequest(lab=LAB_NAME, items=[ANTIGEN])
    assert [result.item for result in (await node.results.ListResults(listing)).test_results] == [ANTIGEN]
    listing = ListResultsRequest(document=make_document(0), items=[""])
    assert [result.report_number for result in (await node.results.ListResults(listing)).test_results] == ["R0"]
    watch = node.results.WatchResults(WatchResultsRequest(filter=ResultFilter(items=[ANTIGEN])))
    assert (await watch.read()).change.report_number == "A0"
    watch.cancel()
    look_ups = [LookupLatestRequest(document=make_document(0), items=items) for items in ([], [ANTIGEN], [ANTIGEN, ""])]
    columns = (await node.internal_lookup.BatchLookupColumns(BatchLookupColumnsRequest(requests=look_ups))).columns
    assert list(columns.in_region_counts) == [1, 1, 2]
    assert list(columns.item) == ["", ANTIGEN, "", ANTIGEN]
    node.clock.advance(MINUTE)
    mend = CorrectResultRequest(name=f"{LAB_NAME}/results/R0", outcome=NEGATIVE, item=ANTIGEN, reason="an antigen test")
    mended = (await node.admin.CorrectResult(mend)).test_result
    assert (mended.item, mended.revision, mended.report_time) == (ANTIGEN, 2, to_timestamp(REPORTED))
    assert await numbers(node) == []
    assert await numbers(node, ANTIGEN) == [("R0", ANTIGEN), ("A0", ANTIGEN)]
    mend.item = DEFAULT_ITEM_NAME
    assert (await node.admin.CorrectResult(mend)).test_result.item == ""
    recall = RecallResultsRequest(lab=LAB_NAME, report_interval=LAST_MONTH, items=[ANTIGEN], reason="a bad kit")
    assert (await node.admin.RecallResults(recall)).recalled_count == 1
    mend.item = "items/Antigen"
    assert await failure_of(node.admin.CorrectResult(mend)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["item"],
    )  # fmt: skip


async def test_the_item_crosses_between_nodes(country: Country) -> None:
    """The item is sent in columns for new reports, and in changes for further revisions.

    A claim of another item returns no content.
    """
    jilin, henan = await country.join(JILIN), await country.join(HENAN)
    await jilin.node.register()
    await jilin.node.upload([make_tube(0), ANTIGEN_OF_0, make_tube(1)], items=[ANTIGEN])
    mend = CorrectResultRequest(name=f"{LAB_NAME}/results/R1", outcome=NEGATIVE, item=ANTIGEN, reason="an antigen test")
    await jilin.node.admin.CorrectResult(mend)
    await until(lambda: len(country.nation.results()) == 4)
    found = {}
    for person, items in ((0, []), (0, [ANTIGEN]), (1, []), (1, [ANTIGEN, HEPATITIS])):
        request = LookupLatestRequest(document=make_document(person), scope=LOOKUP_SCOPE_NATIONWIDE, items=items)
        answer = await henan.node.results.LookupLatest(request, timeout=TIMEOUT_SECONDS)
        found[person, *items] = [(result.report_number, result.item) for result in answer.out_of_region]
    assert found == {
        (0,): [("R0", "")], (0, ANTIGEN): [("A0", ANTIGEN)], (1,): [], (1, ANTIGEN, HEPATITIS): [("R1", ANTIGEN)],
    }  # fmt: skip
    request = LookupLatestRequest(document=make_document(0), scope=LOOKUP_SCOPE_NATIONWIDE)
    request.claimed_reports.append(ClaimedReport(lab=LAB_NAME, report_number="A0"))
    answer = await henan.node.results.LookupLatest(request, timeout=TIMEOUT_SECONDS)
    assert answer.claims[0].state == CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM
    assert (answer.claims[0].HasField("result"), len(answer.next_steps)) == (False, 0)
    asked = LookupSubjectsRequest(
        node="nodes/410000", subject_keys=[subject_key(0)], claimed_reports=request.claimed_reports
    )
    (claim,) = (await country.nation.exchange.LookupSubjects(asked)).claims
    assert (claim.result.item, claim.result.outcome, claim.result.tube_code) == (ANTIGEN, OUTCOME_UNSPECIFIED, "")
