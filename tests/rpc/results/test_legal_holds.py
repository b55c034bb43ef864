"""LegalHoldService: what a hold keeps beyond a purge is returned by ListHeldResults alone, and read with masks."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from hutong.results.v1.legal_hold_service_pb2 import (
    CreateLegalHoldRequest,
    LiftLegalHoldRequest,
    ListHeldResultsRequest,
)
from hutong.results.v1.legal_hold_service_pb2_grpc import LegalHoldServiceStub
from hutong.results.v1.results_service_pb2 import ListResultsRequest

from services.domain.instant import DAY
from services.results.retention.purge import purge
from services.results.schema import audit
from services.storage.engine import open_database
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.results.country import read_rows
from tests.support.results.factories import NOW, make_document, make_tube
from tests.support.results.node import results_node


async def test_held_results_are_read_by_their_hold_alone(tmp_path: Path, database_url: MakeUrl) -> None:
    """Putting a hold twice by one request id puts one. Every call has its row in the audit."""
    url = database_url("results")
    async with results_node(tmp_path, url) as node:
        holds = LegalHoldServiceStub(node.channel)
        await node.register()
        await node.upload([make_tube(0, reported=NOW - 70 * DAY), make_tube(1, reported=NOW - 70 * DAY)])
        request = CreateLegalHoldRequest(
            document=make_document(0), reason="forged", request_id="0f1c3d1e-6f1b-4c0e-9a39-5d8f6b1f7b17"
        )
        case = (("hutong-case", "C-17"),)
        hold = (await holds.CreateLegalHold(request, metadata=case)).legal_hold
        assert (await holds.CreateLegalHold(request, metadata=case)).legal_hold == hold
        assert (hold.case_id, hold.HasField("report_interval"), hold.masked_number.count("*") > 5) == (
            "C-17",
            False,
            True,
        )
        database = open_database(url)
        assert purge(database, NOW - 30 * DAY, NOW).result_count == 1
        database.close()
        assert not (await node.results.ListResults(ListResultsRequest(document=make_document(0)))).test_results
        (held,) = (await holds.ListHeldResults(ListHeldResultsRequest(name=hold.name))).held_results
        assert (held.test_result.report_number, held.test_result.masked_number) == ("R0", hold.masked_number)
        lifted = await holds.LiftLegalHold(LiftLegalHoldRequest(name=hold.name, reason="closed"))
        assert lifted.legal_hold.HasField("lift_time")
        again = await holds.LiftLegalHold(LiftLegalHoldRequest(name=hold.name, reason="other"))
        assert again.legal_hold == lifted.legal_hold
        unknown = "legalHolds/0190a5e2-7c00-7000-8000-000000000001"
        for name, reason in (("legalHolds/x", "MALFORMED_NAME"), (unknown, "NOT_FOUND")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await holds.ListHeldResults(ListHeldResultsRequest(name=name))
            assert error_info(caught.value).reason == reason
    rows = read_rows(url, audit.rows, "method", "object", "case_id")
    service = "hutong.results.v1.LegalHoldService"
    assert (f"{service}/CreateLegalHold", "", "C-17") in rows
    assert (f"{service}/LiftLegalHold", hold.name, "") in rows
