"""The audit of one service with all its parts."""

from __future__ import annotations

from hutong.audit.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server

from services.audit.keys import AuditKeys
from services.audit.sealer import AuditTiming, Sealer
from services.audit.servicer import AuditServicer
from services.audit.tables import AuditTables
from services.audit.trail import Trail
from services.runtime.background import Job
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens
from services.runtime.server.service import Registration
from services.storage.engine import Database


class ServiceAudit:
    """The audit of one service.

    `secret` is the pepper's, or empty at Policy. `region` is that of the node.

    Attributes:
        trail: where calls are recorded.
        run: the background job that seals.
        registration: AuditService.
    """

    def __init__(
        self,
        database: Database,
        tables: AuditTables,
        secret: bytes,
        region: str,
        clock: Clock,
        timing: AuditTiming | None = None,
    ) -> None:
        keys = AuditKeys(secret, tables.service)
        self.trail = Trail(database, tables, keys, region, clock)
        self._sealer = Sealer(database, tables, keys, clock, timing)
        self.run: Job = self._sealer.run
        self._is_closed = False
        self.registration = Registration(
            "hutong.audit.v1.AuditService",
            add_AuditServiceServicer_to_server,
            AuditServicer(database, tables, PageTokens((secret,))),
        )

    async def close(self) -> None:
        """Seal what is left, once. Call it after the last call and before the database is closed."""
        if not self._is_closed:
            self._is_closed = True
            await self._sealer.close()
