"""Hands the newest heads of a service's audit to Results of its node, which sends them to the node above.

An attacker who can write to a database and has its key can make a new chain. The earlier heads, which the node above
keeps, do not fit the new chain. To stay unnoticed, an attacker must therefore control both nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import grpc
import structlog
from hutong.audit.v1.audit_head_pb2 import AuditHead
from hutong.results.internal.v1.internal_audit_service_pb2 import ReportAuditHeadsRequest
from hutong.results.internal.v1.internal_audit_service_pb2_grpc import InternalAuditServiceStub
from sqlalchemy import Connection

from services.audit.model import Chain
from services.audit.sealer import last_seal
from services.audit.tables import AuditTables
from services.domain.errors import HutongError
from services.runtime.client.channels import Connector
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.configuration.settings import Settings
from services.storage.engine import Database

if TYPE_CHECKING:
    from hutong.results.internal.v1.internal_audit_service_pb2_grpc import InternalAuditServiceAsyncStub

ANSWER_SECONDS = 5.0
"""How long this process waits for an answer of Results."""
Deliver: TypeAlias = Callable[[Sequence[AuditHead]], Awaitable[None]]
"""Hands heads over. Raises NotDelivered or HutongError if the heads cannot be handed over now."""

_log = structlog.get_logger(__name__)


class NotDelivered(Exception):
    """Results did not take the heads."""


class HeadReporter:
    """Reports the newest heads of one service, again and again."""

    def __init__(self, database: Database, tables: AuditTables, deliver: Deliver, seconds: float) -> None:
        self._database = database
        self._tables = tables
        self._deliver = deliver
        self._seconds = seconds

    async def run(self) -> None:
        """Report until cancelled. A background job.

        If a head could not be handed over, a later head covers the same rows.
        """
        is_well = True
        while True:
            try:
                await self._database.check()
                heads = await self._database.read(read_heads, self._tables)
                if heads:
                    await self._deliver(heads)
                is_well = True
            except (HutongError, NotDelivered) as error:
                if is_well:
                    _log.warning("audit heads not handed over", service=self._tables.service, text=str(error))
                is_well = False
            await asyncio.sleep(self._seconds)


class ResultsHeadClient:
    """Hands heads to Results of this node."""

    def __init__(self, settings: Settings) -> None:
        self._stub: ReconnectingStub[InternalAuditServiceAsyncStub] = ReconnectingStub(
            Connector(settings.results.address, settings), InternalAuditServiceStub
        )

    async def deliver(self, heads: Sequence[AuditHead]) -> None:
        """Hand heads over. Raises NotDelivered."""
        stub = self._stub.stub
        try:
            await stub.ReportAuditHeads(ReportAuditHeadsRequest(audit_heads=heads), timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._stub.renew(stub)
            raise NotDelivered(f"Results answered {error.code().name}") from None

    async def close(self) -> None:
        """Close the connection."""
        await self._stub.close()


def read_heads(connection: Connection, tables: AuditTables) -> list[AuditHead]:
    """Return the newest head of each chain that has seals."""
    seals = [seal for chain in Chain if (seal := last_seal(connection, tables, chain)) is not None]
    return [
        AuditHead(service=tables.service, chain=seal.chain, number=seal.number, head=seal.head)  # type: ignore[arg-type]
        for seal in seals
    ]
