"""The audit of one service with all its parts."""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from hutong.audit.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server

from services.audit.heads import Deliver, HeadReporter
from services.audit.keys import AuditKeys
from services.audit.sealer import AuditTiming, Sealer
from services.audit.servicer import AuditServicer
from services.audit.tables import AuditTables
from services.audit.trail import Trail
from services.domain.errors import HutongError
from services.domain.subject import Pepper
from services.runtime.background import Job
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens
from services.runtime.server.service import Registration
from services.storage.engine import Database

_log = structlog.get_logger(__name__)


class ServiceAudit:
    """The audit of one service.

    `pepper` is None at Policy, which stores nothing about persons. `region` is the node's region. `deliver` hands heads
    to Results of the node; None at a node without a node above it.

    Attributes:
        trail: where calls are recorded.
        jobs: the background jobs: sealing, storing the sums of denials, and handing heads over.
        registration: AuditService.
    """

    def __init__(
        self,
        database: Database,
        tables: AuditTables,
        pepper: Pepper | None,
        region: str,
        clock: Clock,
        deliver: Deliver | None,
        timing: AuditTiming | None = None,
    ) -> None:
        timing = timing or AuditTiming()
        service = tables.service
        keys = AuditKeys.of_secret(b"", service) if pepper is None else AuditKeys.of_pepper(pepper, service)
        self.trail = Trail(database, tables, keys, region, clock)
        self._sealer = Sealer(database, tables, keys, clock, timing)
        self._timing = timing
        self.jobs: tuple[Job, ...] = (self._sealer.run, self._store_sums)
        if deliver is not None:
            self.jobs = (*self.jobs, HeadReporter(database, tables, deliver, timing.report).run)
        self._is_closed = False
        self.registration = Registration(
            "hutong.audit.v1.AuditService",
            add_AuditServiceServicer_to_server,
            AuditServicer(database, tables, PageTokens(() if pepper is None else pepper.secrets)),
        )

    async def close(self) -> None:
        """Store and seal what is left, once.

        Call this method after the last call has ended and before the database is closed.
        """
        if not self._is_closed:
            self._is_closed = True
            with contextlib.suppress(HutongError):
                await self.trail.record_sums(all_of_them=True)
            await self._sealer.close()

    async def _store_sums(self) -> None:
        """Store the sums of denials again and again until cancelled. A background job."""
        while True:
            await asyncio.sleep(self._timing.sums)
            try:
                await self.trail.record_sums()
            except HutongError as error:
                _log.warning("sums of refused calls not stored", reason=error.reason)
