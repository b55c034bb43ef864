"""Channels to other services and nodes."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from typing import cast

import grpc
import structlog

from services.runtime.certificates import channel_credentials, check_tls_files, require_private_tls_files
from services.runtime.client.traced_channel import TracedChannel
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.tls import TlsSettings
from services.runtime.configuration.variables import BadSetting
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.reloading import FAILURES, Signature, signature_of
from services.runtime.tracing.spans import is_tracing

FILE_CHECK_SECONDS = 5.0
"""Seconds between two checks for changed files. Each check costs a few system calls for each file."""

_log = structlog.get_logger(__name__)

_CHANNEL = json.loads((files("hutong") / "service-config.json").read_text(encoding="utf-8"))["channel"]
"""The options that clients in every language share. They are generated together with the stubs."""
OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", _CHANNEL["keepaliveTimeMillis"]),
    ("grpc.keepalive_timeout_ms", _CHANNEL["keepaliveTimeoutMillis"]),
    # Despite its name, this option limits how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", _CHANNEL["connectTimeoutMillis"]),
    ("grpc.initial_reconnect_backoff_ms", _CHANNEL["initialReconnectBackoffMillis"]),
    ("grpc.max_reconnect_backoff_ms", _CHANNEL["maxReconnectBackoffMillis"]),
    # gRPC would repeat small client streams too. A caller that wants retries makes them itself.
    ("grpc.enable_retries", 0),
]


class Connector:
    """Opens dedicated channels to one target, with the newest usable keys and authorities of the settings.

    Files that cannot be used, or that every user of the machine can use, do not replace what was read before.
    """

    def __init__(self, target: str, settings: Settings, file_check_seconds: float = FILE_CHECK_SECONDS) -> None:
        self._target = target
        self._settings = settings
        self._look_seconds = file_check_seconds
        tls = settings.tls
        paths = (tls.certificate_file, tls.key_file, tls.server_ca_file)
        self._files = [one for one in paths if one is not None]
        self._seen = self._usable = signature_of(self._files)
        self._looked = time.monotonic()
        self._credentials = _read_credentials(tls)

    def __call__(self) -> grpc.aio.Channel:
        """Open a channel with the newest usable files."""
        self.revision()
        return _open(self._target, self._credentials, dedicated=True)

    def revision(self) -> Signature:
        """Return a value that differs whenever new channels would show or trust other certificates than before."""
        if self._files and time.monotonic() - self._looked >= self._look_seconds:
            self._looked = time.monotonic()
            self._look()
        return self._usable

    def _look(self) -> None:
        signature = signature_of(self._files)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            require_private_tls_files(self._settings.tls)
            check_tls_files(self._settings.tls)
        except BadSetting as error:
            FAILURES.labels("HUTONG_TLS_CERTIFICATE_FILE").inc()
            _log.error("changed files of TLS cannot be used by clients", target=self._target, text=str(error))
        else:
            self._usable = signature
            self._credentials = _read_credentials(self._settings.tls)


def open_channel(target: str, settings: Settings, *, dedicated: bool = False) -> grpc.aio.Channel:
    """Open a channel to a service: in plain text on a node without certificates, otherwise over TLS or mutual TLS.

    A `dedicated` channel has its own connection. Other channels to one target share a connection. A caller with a dead
    connection can therefore open a dedicated channel to get a new connection.
    """
    return _open(target, _read_credentials(settings.tls), dedicated=dedicated)


def _open(target: str, credentials: grpc.ChannelCredentials | None, *, dedicated: bool) -> grpc.aio.Channel:
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)] if dedicated else OPTIONS
    if credentials is None:
        return _traced(grpc.aio.insecure_channel(target, options=options))
    return _traced(grpc.aio.secure_channel(target, credentials, options=options))


def _read_credentials(tls: TlsSettings) -> grpc.ChannelCredentials | None:
    """Return the credentials of a client; None for plain text."""
    return channel_credentials(tls) if tls.calls_tls else None


def _traced(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    return cast("grpc.aio.Channel", TracedChannel(channel)) if is_tracing() else channel
