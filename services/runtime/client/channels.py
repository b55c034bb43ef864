"""Channels to the other services and nodes."""

from __future__ import annotations

import grpc

from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.settings import Settings

OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Finds out within half a minute that the other side is gone without a word.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A service that comes back is found again at once, not after gRPC's default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # By its name a pause, to gRPC how long an attempt to connect may take: longer than a slow link's handshakes.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A retry policy would also repeat small client streams; who wants a retry does it himself.
    ("grpc.enable_retries", 0),
]


def open_channel(target: str, settings: Settings, *, apart: bool = False) -> grpc.aio.Channel:
    """A channel to a service: plain on a node without certificates, TLS or mutual TLS on one with them.

    One that is `apart` has a connection of its own, where others to the same target share one: whoever finds that a
    connection carries nothing any more gets a new one by a new channel.
    """
    tls = settings.tls
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)] if apart else OPTIONS
    if not tls.calls_tls:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.server_ca_file.read_bytes() if tls.server_ca_file else None,
        private_key=tls.key_file.read_bytes() if tls.key_file else None,
        certificate_chain=tls.certificate_file.read_bytes() if tls.certificate_file else None,
    )
    return grpc.aio.secure_channel(target, credentials, options=options)
