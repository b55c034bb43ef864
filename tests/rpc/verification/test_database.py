"""Verification when its database goes away: what must be kept is not answered, and says so."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import BatchVerifyRequest

from tests.support.databases import PostgresServer
from tests.support.errors import error_info, rich_status
from tests.support.verification.node import NUMBERS, Node, calling, question


async def test_decision_that_cannot_be_stored_is_unavailable(tmp_path: Path, own_server: PostgresServer) -> None:
    """With PostgreSQL stopped a decision to be stored is UNAVAILABLE, with a time to retry: it must be durable first.

    In a batch that is its own error, and what stands beside it has another.
    """
    node = Node(tmp_path, verification=own_server.make("verification"))
    try:
        await node.start("verification")
        async with calling(node.addresses) as callers:
            decision = (await callers.decisions.Verify(question(NUMBERS[0], store_decision=True))).decision
            assert decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
            assert decision.name
            own_server.halt()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await callers.decisions.Verify(question(NUMBERS[0], store_decision=True))
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == "DATABASE_UNAVAILABLE"
            retry = error_details_pb2.RetryInfo()
            assert any(detail.Unpack(retry) for detail in rich_status(caught.value).details)
            faulty = question(NUMBERS[0], store_decision=True)
            faulty.region = "999999"
            batch = BatchVerifyRequest(requests=[question(NUMBERS[0], store_decision=True), faulty])
            items = (await callers.decisions.BatchVerify(batch)).items
            assert [item.error.code for item in items] == [code_pb2.UNAVAILABLE, code_pb2.INVALID_ARGUMENT]
    finally:
        await node.close()
