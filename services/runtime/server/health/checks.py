"""Health by deep checks: NOT_SERVING until a check has passed, and again whenever a check fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer
from hutong_texts import english

from services.domain.errors import HutongError, NotFound
from services.runtime.server.service import Service
from services.runtime.server.timing import ServerTiming

_log = structlog.get_logger(__name__)


class _Servicer(HealthServicer):
    """Answers with the status that was last published.

    For an unknown service, Check fails and Watch sends SERVICE_UNKNOWN. The library's own servicer sends to a watch
    while it holds the lock that a change of the status needs. One watch whose client accepts no data would block every
    change of the status and the end of the server.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._is_serving = False
        # The next change of the status sets this event and replaces it by a new one.
        self._changed = asyncio.Event()

    def publish(self, *, serving: bool) -> None:
        """Set the status of all services, and wake the watches."""
        self._is_serving = serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(self, request: HealthCheckRequest, _context: Any) -> HealthCheckResponse:
        """Return the status of a service."""
        if request.service not in self._names:
            raise NotFound("NOT_FOUND", english("this process does not serve the service"))
        return self._state_of(request.service)

    async def Watch(self, request: HealthCheckRequest, context: Any) -> None:
        """Send the status of a service now and after each change, until the caller ends the call."""
        sent = None
        while True:
            # The event is taken before the state is sent. A change during the sending is therefore noticed.
            changed, state = self._changed, self._state_of(request.service)
            if state != sent:
                await context.write(state)
                sent = state
            await changed.wait()

    def _state_of(self, service: str) -> HealthCheckResponse:
        if service not in self._names:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        if self._is_serving:
            return HealthCheckResponse(status=HealthCheckResponse.SERVING)
        return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The outcome of the last deep check.

    Attributes:
        serving: whether the check passed and the server is not draining.
        age_seconds: how long ago the check was made. Before the first check, how long ago the server was opened.
    """

    serving: bool
    age_seconds: float


class Health:
    """Publishes grpc.health.v1 for the server as a whole ("") and for each gRPC service of one service."""

    def __init__(self, service: Service, timing: ServerTiming) -> None:
        self._service = service
        self._timing = timing
        self.servicer = _Servicer(["", *(registration.service for registration in service.registrations)])
        self._serving: bool | None = None
        self._draining = False
        self._checked = time.monotonic()

    def report(self) -> HealthReport:
        """Return the outcome of the last check. Any thread may call it."""
        return HealthReport(bool(self._serving) and not self._draining, time.monotonic() - self._checked)

    async def check_once(self) -> bool:
        """Check the service now and publish the outcome."""
        try:
            async with asyncio.timeout(self._timing.check_timeout):
                await self._service.check()
            serving = True
        except Exception as error:  # noqa: BLE001 - whatever a check raises means not healthy
            serving = False
            if self._serving is not False:
                # Other errors' texts may contain values of a row. Only the errors of this system certainly do not.
                cause = error.message if isinstance(error, HutongError) else ""
                _log.warning("not healthy", service=self._service.name, error=type(error).__name__, text=cause)
        self._checked = time.monotonic()
        self._publish(serving)
        return serving

    async def check_periodically(self) -> None:
        """Check periodically until cancelled."""
        while True:
            await self.check_once()
            await asyncio.sleep(self._timing.check)

    def drain(self) -> None:
        """Publish NOT_SERVING from now on, so that load balancers choose other servers before calls are refused."""
        self._draining = True
        self.servicer.publish(serving=False)

    def _publish(self, serving: bool) -> None:
        if serving == self._serving:
            return
        if self._serving is not None or serving:
            _log.info("health changed", service=self._service.name, serving=serving)
        self._serving = serving
        self.servicer.publish(serving=serving and not self._draining)
