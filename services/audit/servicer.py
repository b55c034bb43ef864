"""AuditService. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.audit.v1.audit_service_pb2 import ListAuditEventsRequest, ListAuditEventsResponse
from hutong.audit.v1.audit_service_pb2_grpc import AuditServiceServicer

from services.audit.convert import event_to_proto
from services.audit.queries import BEGINNING, EventFilter, Position, list_events
from services.audit.tables import AuditTables
from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_text
from services.domain.instant import from_timestamp
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.engine import Database

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class AuditServicer(AuditServiceServicer):
    """Lists the audit events of one service."""

    def __init__(self, database: Database, tables: AuditTables, tokens: PageTokens) -> None:
        self._database = database
        self._tables = tables
        self._tokens = tokens

    async def ListAuditEvents(self, request: ListAuditEventsRequest, context: Context) -> ListAuditEventsResponse:
        faults: list[Violation] = []
        check_text(request.caller, "caller", faults)
        if faults:
            raise InvalidArgument.of(faults)
        stated = self._tokens.position(request, (int, int, int))
        after = BEGINNING if stated is None else Position(*stated)
        interval = request.interval
        wanted = EventFilter(
            request.region,
            from_timestamp(interval.start_time) if interval.HasField("start_time") else None,
            from_timestamp(interval.end_time) if interval.HasField("end_time") else None,
            tuple(request.kinds),
            request.caller,
        )
        found = await self._database.read_in_bulk(
            list_events, self._tables, wanted, after, rows_to_read(request.page_size)
        )
        shown, token = self._tokens.page(request, found, lambda event: [event.time, event.writer_id, event.sequence])
        return ListAuditEventsResponse(audit_events=map(event_to_proto, shown), next_page_token=token)
