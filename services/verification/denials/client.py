"""Asks this node's Results which reports their laboratories have denied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.internal.v1.internal_missing_report_service_pb2 import (
    ListDeniedReportsRequest,
    ListDeniedReportsResponse,
)
from hutong.results.internal.v1.internal_missing_report_service_pb2_grpc import InternalMissingReportServiceStub

from services.runtime.client.channels import Connector
from services.runtime.client.reconnecting import ReconnectingStub

if TYPE_CHECKING:
    from hutong.results.internal.v1.internal_missing_report_service_pb2_grpc import (
        InternalMissingReportServiceAsyncStub,
    )

ANSWER_SECONDS = 5.0
"""How long this node waits for an answer of Results."""
_PAGE_SIZE = 500


class NotAnswered(Exception):
    """Results did not answer."""


ListDenied: TypeAlias = Callable[[Timestamp | None, str], Awaitable[ListDeniedReportsResponse]]
"""Lists denied reports, as `DenialClient.list_denied` does."""


class DenialClient:
    """A client of this node's Results."""

    def __init__(self, open_channel: Connector) -> None:
        self._stub: ReconnectingStub[InternalMissingReportServiceAsyncStub] = ReconnectingStub(
            open_channel, InternalMissingReportServiceStub
        )

    async def list_denied(self, start: Timestamp | None, page_token: str) -> ListDeniedReportsResponse:
        """Return a page of the denied reports whose answers were stored from an instant on; None for all.

        Raises:
            NotAnswered: Results did not answer.
        """
        stub = self._stub.stub
        request = ListDeniedReportsRequest(store_start_time=start, page_size=_PAGE_SIZE, page_token=page_token)
        try:
            return await stub.ListDeniedReports(request, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._stub.renew(stub)
            raise NotAnswered(f"Results answered {error.code().name}") from None

    async def close(self) -> None:
        """Close the connection."""
        await self._stub.close()
