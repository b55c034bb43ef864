"""Channels to other services and nodes."""

from __future__ import annotations

import json
from importlib.resources import files

import grpc

from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.settings import Settings

_CHANNEL = json.loads((files("hutong") / "service-config.json").read_text(encoding="utf-8"))["channel"]
"""The options that clients in every language share, made beside the stubs."""
OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", _CHANNEL["keepaliveTimeMillis"]),
    ("grpc.keepalive_timeout_ms", _CHANNEL["keepaliveTimeoutMillis"]),
    # Despite its name, this is how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", _CHANNEL["connectTimeoutMillis"]),
    ("grpc.initial_reconnect_backoff_ms", _CHANNEL["initialReconnectBackoffMillis"]),
    ("grpc.max_reconnect_backoff_ms", _CHANNEL["maxReconnectBackoffMillis"]),
    # gRPC's retries would also repeat small client streams. Callers that want a retry make it themselves.
    ("grpc.enable_retries", 0),
]


def open_channel(target: str, settings: Settings, *, dedicated: bool = False) -> grpc.aio.Channel:
    """Open a channel to a service: in plain text on a node without certificates, otherwise over TLS or mutual TLS.

    A `dedicated` channel has its own connection; other channels to one target share one. A caller whose connection is
    dead can therefore get a new connection by opening a new dedicated channel.
    """
    tls = settings.tls
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)] if dedicated else OPTIONS
    if not tls.calls_tls:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.server_ca_file.read_bytes() if tls.server_ca_file else None,
        private_key=tls.key_file.read_bytes() if tls.key_file else None,
        certificate_chain=tls.certificate_file.read_bytes() if tls.certificate_file else None,
    )
    return grpc.aio.secure_channel(target, credentials, options=options)
