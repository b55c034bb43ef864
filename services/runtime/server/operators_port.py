"""The operators' port. It serves metrics and health over HTTP, on its own threads.

The port answers even while the event loop is busy. It listens on loopback only, because it serves plain text.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from hutong_texts import english
from hutong_texts.system import system_text
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from services.runtime.addresses import is_loopback, split_address
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.health.checks import HealthReport

STALE_SECONDS = 30.0
"""The age in seconds from which a health report no longer counts. A check is made each second and takes at most five
seconds. If the report is older than this, the event loop hangs."""
_POLL_SECONDS = 0.1
"""The time between two checks whether the port is to be closed."""


class OperatorsPort:
    """Serves `/metrics` and `/healthz` until it is closed.

    `/healthz` answers 200 if all services of the process are healthy, else 503. The body has the state of each service.
    """

    def __init__(
        self, address: str, services: int, registry: CollectorRegistry = REGISTRY, *, any_suffices: bool = False
    ) -> None:
        """Listen at an address. `registry` has the metrics.

        `services` is the number of services that the process will have. With `any_suffices`, one healthy report is
        enough: the workers of one service serve the same port.

        Raises:
            BadSetting: the address is taken, or other machines can reach it.
        """
        self._services = services
        self._reports: dict[str, Callable[[], HealthReport]] = {}
        self._metrics = make_wsgi_app(registry)
        self._suffices = any if any_suffices else all
        if not is_loopback(address):
            raise BadSetting(english("HUTONG_METRICS_ADDRESS must be on loopback: metrics are served in plain text"))
        host, port = split_address(address)
        try:
            self._server = make_server(host, port, self._answer, _server_for(host, port), _SilentHandler)
        except OSError as error:
            raise BadSetting(
                english(
                    "HUTONG_METRICS_ADDRESS: cannot listen at {address}: {cause}; free it, or change the setting",
                    address=address,
                    cause=system_text(error),
                )
            ) from None
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="operators-port", daemon=True
        )
        self._thread.start()

    def add(self, service: str, report: Callable[[], HealthReport]) -> None:
        """Serve the health of a service from now on. `report` is called from other threads."""
        # The dictionary is replaced, because other threads may be reading the old one.
        self._reports = {**self._reports, service: report}

    def replace(self, reports: Mapping[str, Callable[[], HealthReport]]) -> None:
        """Serve the health of the services in `reports` from now on, and of no others."""
        self._reports = dict(reports)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        reports = {name: report() for name, report in self._reports.items()}
        healthy = len(reports) >= self._services and self._suffices(is_healthy(report) for report in reports.values())
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps({name: _described(report) for name, report in reports.items()}).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]


def is_healthy(report: HealthReport) -> bool:
    """Whether a report says that a service is healthy and is new enough."""
    return report.serving and report.age_seconds < STALE_SECONDS


def _described(report: HealthReport) -> dict[str, Any]:
    return {"serving": is_healthy(report), "checked_seconds_ago": round(report.age_seconds, 1)}


class _SilentHandler(WSGIRequestHandler):
    timeout = 5.0
    """How many seconds a client may take to send its request. Each open connection occupies a thread."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    # A client that sends nothing must not keep the process from ending.
    daemon_threads = True


def _server_for(host: str, port: int) -> type[WSGIServer]:
    """Return the server class for the host's family of addresses."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    return type("_ServerOfFamily", (_Server,), {"address_family": family})
