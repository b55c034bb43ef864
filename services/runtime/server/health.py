"""Health as it truly is: NOT_SERVING until a deep check has passed, and again whenever one fails."""

from __future__ import annotations

import asyncio

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from services.runtime.server.service import Service

CHECK_SECONDS = 1.0
"""Between two deep checks: how stale health may be."""
CHECK_TIMEOUT_SECONDS = 5.0
"""A check that takes longer has failed."""

_log = structlog.get_logger(__name__)


class Health:
    """Keeps grpc.health.v1 true for a service, for the server as a whole ("") and for each of its gRPC services."""

    def __init__(self, service: Service) -> None:
        self.servicer = aio.HealthServicer()
        self._service = service
        self._names = ["", *(registration.service for registration in service.registrations)]
        self._serving: bool | None = None

    async def begin(self) -> None:
        """NOT_SERVING until the service has started and a check has passed."""
        await self._tell(serving=False)

    async def check_once(self) -> bool:
        """Check now and publish what was found."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await self._service.check()
            serving = True
        except Exception as error:  # noqa: BLE001 - whatever a check raises means not healthy
            serving = False
            if self._serving is not False:
                _log.warning("not healthy", service=self._service.name, error=type(error).__name__)
        await self._publish(serving)
        return serving

    async def follow(self) -> None:
        """Check again and again until cancelled."""
        while True:
            await self.check_once()
            await asyncio.sleep(CHECK_SECONDS)

    async def drain(self) -> None:
        """NOT_SERVING for good, so that balancers look elsewhere before calls are refused."""
        await self.servicer.enter_graceful_shutdown()

    async def _publish(self, serving: bool) -> None:
        if serving == self._serving:
            return
        if self._serving is not None or serving:
            _log.info("health changed", service=self._service.name, serving=serving)
        self._serving = serving
        await self._tell(serving=serving)

    async def _tell(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)
