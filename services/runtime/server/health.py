"""Health by deep checks: NOT_SERVING until one has passed, and again whenever one fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio
from hutong_texts import english

from services.domain.errors import HutongError, NotFound
from services.runtime.server.service import Service
from services.runtime.server.timing import ServerTiming

_log = structlog.get_logger(__name__)


class _Servicer(aio.HealthServicer):
    """The library's servicer, but an unknown service raises an error, so that one layer ends all failed calls."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Return the status of a service."""
        if request.service not in self._names:
            raise NotFound("NOT_FOUND", english("this process does not serve the service"))
        status: health_pb2.HealthCheckResponse = await super().Check(request, context)
        return status


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The outcome of the last deep check.

    Attributes:
        serving: whether it passed and the server is not draining.
        age_seconds: how long ago it was made; how long ago the server was opened if there was none.
    """

    serving: bool
    age_seconds: float


class Health:
    """Publishes grpc.health.v1 for the server as a whole ("") and for each gRPC service of one service."""

    def __init__(self, service: Service, timing: ServerTiming) -> None:
        self._service = service
        self._timing = timing
        self._names = ["", *(registration.service for registration in service.registrations)]
        self.servicer = _Servicer(self._names)
        self._serving: bool | None = None
        self._draining = False
        self._checked = time.monotonic()

    def report(self) -> HealthReport:
        """Return the outcome of the last check. Any thread may call it."""
        return HealthReport(bool(self._serving) and not self._draining, time.monotonic() - self._checked)

    async def reset(self) -> None:
        """Publish NOT_SERVING, which stays until a check has passed."""
        await self._set_status(serving=False)

    async def check_once(self) -> bool:
        """Check now and publish the outcome."""
        try:
            async with asyncio.timeout(self._timing.check_timeout):
                await self._service.check()
            serving = True
        except Exception as error:  # noqa: BLE001 - whatever a check raises means not healthy
            serving = False
            if self._serving is not False:
                # Only the texts of this system's own errors are sure to hold no value of a row.
                cause = error.message if isinstance(error, HutongError) else ""
                _log.warning("not healthy", service=self._service.name, error=type(error).__name__, text=cause)
        self._checked = time.monotonic()
        await self._publish(serving)
        return serving

    async def check_periodically(self) -> None:
        """Check periodically until cancelled."""
        while True:
            await self.check_once()
            await asyncio.sleep(self._timing.check)

    async def drain(self) -> None:
        """Publish NOT_SERVING from now on, so that load balancers choose other servers before calls are refused."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    async def _publish(self, serving: bool) -> None:
        if serving == self._serving:
            return
        if self._serving is not None or serving:
            _log.info("health changed", service=self._service.name, serving=serving)
        self._serving = serving
        await self._set_status(serving=serving)

    async def _set_status(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)
