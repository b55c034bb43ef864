"""A gRPC server's life: bind, serve, check health, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from hutong_texts import Text, english
from hutong_texts.system import system_text

from services.runtime.addresses import is_loopback, socket_path, split_address
from services.runtime.background import Background
from services.runtime.certificates import check_certificate_use, check_tls_files
from services.runtime.clock import Clock, SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.reloading import Reloads
from services.runtime.server.accepting import Limit, make_server
from services.runtime.server.access.budgets import Accounts
from services.runtime.server.access.identify import Identifier
from services.runtime.server.credentials import ServerCredentials
from services.runtime.server.health.access import HealthAccess
from services.runtime.server.health.checks import Health, HealthReport
from services.runtime.server.health.rate import HealthRate
from services.runtime.server.interceptors.admission import Admission
from services.runtime.server.interceptors.audit import Audit
from services.runtime.server.interceptors.authorization import Authorization, read_rules
from services.runtime.server.interceptors.budgets import Budgets
from services.runtime.server.interceptors.chain import Layer, Routes, ordered_layers
from services.runtime.server.interceptors.decoding import MAX_RECEIVED_BYTES
from services.runtime.server.interceptors.error_status import ErrorStatus
from services.runtime.server.interceptors.identity import Identity
from services.runtime.server.interceptors.open_streams import OpenStreams
from services.runtime.server.interceptors.request_id import RequestId
from services.runtime.server.load import LoadLimits, Unlimited
from services.runtime.server.reflection import add_reflection
from services.runtime.server.service import Service
from services.runtime.server.timing import ServerTiming
from services.runtime.tracing.spans import tracer_of

MAX_METADATA_BYTES = 16 * 1024

_log = structlog.get_logger(__name__)


def _options(timing: ServerTiming, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        *_OPTIONS,
        # By default gRPC sets this option. A second server could then bind the same port, and would unnoticed take half
        # of the first server's calls.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_connection_age_ms", round(timing.connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", round(timing.connection_grace * 1000)),
    ]


_OPTIONS: list[tuple[str, int]] = [
    # The most calls on one connection: as many streams as a caller's budget allows, and as many other calls. Further
    # calls wait at the client. Under load they cost nothing there and take no memory in this process.
    ("grpc.max_concurrent_streams", 128),
    # With this option gRPC resets calls at random near the limit, even calls of a client that obeys the limit. The
    # reason is that gRPC counts a call until its end is sent. The option is on by default.
    ("grpc.http.overload_protection", 0),
    # In gRPC's default of two minutes, silent connections would occupy the places of new connections.
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # The number of calls of one method that may wait for Python. gRPC resets further calls (CANCELLED). A call that its
    # caller has given up still waits, and costs as much as any other call. Under a flood that lasts, a longer queue
    # holds hardly any other calls (docs/performance.md §6). A burst of 2,000 calls fits into this queue.
    ("grpc.server.max_pending_requests", 2_000),
    ("grpc.server.max_pending_requests_hard_limit", 2_500),
    # Gates and watches keep streams open for days. The server detects a client that has disappeared, and clients can
    # detect a server that has disappeared.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


class RunningServer:
    """A service that is being served.

    Attributes:
        port: the port that the server listens on. If port 0 was asked for, this is the port that was taken.
        accounts: the counts of its callers.
    """

    def __init__(
        self,
        service: Service,
        server: grpc.aio.Server,
        port: int,
        health_: Health,
        admission: Admission,
        timing: ServerTiming,
        streams: OpenStreams,
        reloads: Reloads,
        accounts: Accounts,
    ) -> None:
        self.service = service
        self.port = port
        self.accounts = accounts
        self._server = server
        self._admission = admission
        self._health = health_
        self._timing = timing
        self._reloads = reloads
        self._health_checks = Background(
            [health_.check_periodically, reloads.run, partial(streams.recheck_periodically, timing.recheck)]
        )
        self._health_checks.start()
        self._background = Background(service.background)
        self._background.start()

    def health(self) -> HealthReport:
        """Return the outcome of the last health check. Any thread may call it."""
        return self._health.report()

    async def reload(self) -> None:
        """Read keys, authorities and the deny-list again now.

        End the streams of callers that are no longer accepted.
        """
        await self._reloads.refresh(force=True)

    async def stop(self, grace: float) -> None:
        """Drain and stop.

        Health ends first, then streams after their last acknowledgement, other calls after `grace` seconds. The
        service's jobs and its databases are closed last.
        """
        await self._health_checks.stop()
        self._health.drain()
        self.service.drain.begin()
        await self._server.stop(grace)
        # gRPC cancels the remaining calls but does not wait until they end. They may still use the databases, which are
        # closed next.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.cancel):
                await self._admission.wait_until_idle()
        await self._background.stop()
        await self.service.close()
        _log.info("stopped", service=self.service.name)


async def start(
    service: Service,
    address: str,
    settings: Settings,
    timing: ServerTiming | None = None,
    clock: Clock | None = None,
    arrange: Callable[..., list[Layer]] = ordered_layers,
    *,
    shares_port: bool = False,
) -> RunningServer:
    """Serve a service at an address. Port 0 takes a free port. The clock tells whether certificates have expired.

    `arrange` takes the arguments of `ordered_layers` and returns the layers. A bench uses it to leave some layers out.
    With `shares_port` other processes may listen at the same port, and the kernel distributes the connections.

    Raises:
        BadSetting: the port is taken; or there is no mutual TLS, and other machines can reach the address or
            HUTONG_INSECURE is not set.
    """
    timing = timing or ServerTiming()
    limits = LoadLimits(service.name)
    admission = Admission(settings.max_calls, limits.note_waiting)
    clock = clock or SystemClock()
    identifier = Identifier(settings, clock)
    authorization = Authorization(identifier, service.owner_of, settings.jurisdiction)
    audit = Audit(service.audit, identifier.subject_key)
    streams = OpenStreams(identifier)
    # A worker receives calls before it joins its group. With `is_shared` the counts of these calls are kept and sent to
    # the other workers later.
    budgets = Budgets(settings, clock, is_shared=shares_port)
    identity = Identity(identifier)
    layers = arrange(
        RequestId(tracer_of(service.name)), identity, audit, streams, authorization, budgets, admission, timing.deadline
    )
    health_rate = HealthRate()
    routes = Routes(layers, [RequestId(), identity, ErrorStatus(), HealthAccess(identifier, streams, health_rate)])
    # Generated code uses a server only to register methods. `routes` can do that too.
    registrar = cast("grpc.aio.Server", routes)
    health_ = Health(service, timing)
    for registration in service.registrations:
        registration.register(registration.servicer, registrar)
    health_pb2_grpc.add_HealthServicer_to_server(health_.servicer, registrar)
    names = [registration.service for registration in service.registrations]
    add_reflection([*names, health.SERVICE_NAME], registrar)
    limited: dict[str, tuple[Any, Limit]] = {
        method.name: (handler, limits.of(method, read_rules(method).cost))
        for method, handler in routes.handlers_of(names)
    }
    # Health checks are accepted by the same fast path as other calls, so that no check waits behind other calls.
    limit: Limit = Unlimited() if identifier.is_open else health_rate
    limited |= {method.name: (handler, limit) for method, handler in routes.handlers_of([health.SERVICE_NAME])}
    server = make_server([routes], _options(timing, shares_port=shares_port), limited)
    check_exposure(address, settings)
    check_tls_files(settings.tls)
    check_certificate_use(settings.tls)
    credentials = ServerCredentials(settings.tls) if settings.tls.serves_tls else None
    port = _bind(server, service.name, address, credentials, shares_port=shares_port)
    await server.start()
    try:
        await service.start()
    except BaseException:
        await server.stop(None)
        raise
    await health_.check_once()
    _log.info("serving", service=service.name, port=port, **settings.redacted())
    files = [*identifier.reloaded, *budgets.reloaded, *([credentials.files] if credentials is not None else [])]
    reloads = Reloads(files, streams.recheck, timing.reload)
    return RunningServer(service, server, port, health_, admission, timing, streams, reloads, budgets.accounts)


def check_exposure(address: str, settings: Settings) -> None:
    """Check that callers show certificates.

    Without certificates, callers must be local and HUTONG_INSECURE must admit them.

    Raises:
        BadSetting: neither condition is met.
    """
    tls = settings.tls
    if not is_loopback(address) and not (tls.serves_tls and tls.client_ca_file):
        raise BadSetting(
            english(
                "{address} can be reached from other machines: it needs HUTONG_TLS_CERTIFICATE_FILE, "
                "HUTONG_TLS_KEY_FILE, and HUTONG_TLS_CLIENT_CA_FILE so that callers are known",
                address=address,
            )
        )
    if socket_path(address) and tls.client_ca_file is not None:
        raise BadSetting(
            english(
                "{address} serves plain text only: give host:port, or no HUTONG_TLS_CLIENT_CA_FILE", address=address
            )
        )
    if tls.client_ca_file is None and not settings.insecure:
        raise BadSetting(
            english(
                "callers would be unknown: set HUTONG_TLS_CERTIFICATE_FILE, HUTONG_TLS_KEY_FILE and "
                "HUTONG_TLS_CLIENT_CA_FILE (`make certs` makes them), or HUTONG_INSECURE=1 to let every process of "
                "this machine do everything"
            )
        )


def find_bind_error(address: str) -> Text:
    """Return why no server can listen at an address now; empty if a server can. gRPC itself does not tell the cause."""
    if path := socket_path(address):
        return _find_socket_error(Path(path))
    host, port = split_address(address)
    cause = Text("")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return english("the host is unknown")
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(place)
        except OSError as error:
            cause = system_text(error)
        else:
            return Text("")
    return cause


def cannot_listen(address: str, cause: Text, service: str) -> BadSetting:
    """Return the error for an address at which a service cannot listen."""
    return BadSetting(
        english(
            "cannot listen at {address}: {cause}; free it, or change HUTONG_{service}_ADDRESS",
            address=address,
            cause=cause,
            service=service.upper(),
        )
    )


def _find_socket_error(path: Path) -> Text:
    """Return why nothing can listen at a unix socket. A socket that a killed process has left does not matter."""
    if not path.parent.is_dir():
        return english("its folder does not exist")
    if not path.exists():
        return Text("")
    if not path.is_socket():
        return english("there is a file")
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(str(path))
        except OSError:
            return Text("")
    return english("another process listens there")


def _bind(
    server: grpc.aio.Server, service: str, address: str, credentials: ServerCredentials | None, *, shares_port: bool
) -> int:
    cause = Text("") if shares_port else find_bind_error(address)
    try:
        if not cause:
            if credentials is None:
                port = server.add_insecure_port(address)
                if path := socket_path(address):
                    # Until now the umask has kept other users out.
                    Path(path).chmod(0o600)
                return port
            return server.add_secure_port(address, credentials.for_grpc())
    except RuntimeError:
        cause = english("the port is taken or the address is not this machine's")
    raise cannot_listen(address, cause, service)


@contextlib.asynccontextmanager
async def running(
    service: Service,
    address: str,
    settings: Settings,
    grace: float = 1.0,
    timing: ServerTiming | None = None,
) -> AsyncIterator[RunningServer]:
    """Serve a service while the block runs."""
    server = await start(service, address, settings, timing)
    try:
        yield server
    finally:
        await server.stop(grace)
