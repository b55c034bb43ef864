"""A client that resumes a TLS session. A client of gRPC lets nobody choose the session."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from tests.support.certificates import Certificate
from tests.support.hostile.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    frame,
    request_headers,
)
from tests.support.waiting import TIMEOUT_SECONDS

_EMPTY_MESSAGE = bytes(5)
_STATUS = b"grpc-status"


class Answered(NamedTuple):
    """The outcome of a call.

    Attributes:
        status: the code of gRPC as a number; None if the connection ended without one.
        is_resumed: whether the server resumed the session.
        session: the session of the connection.
    """

    status: int | None
    is_resumed: bool
    session: ssl.SSLSession | None


class ResumingCaller:
    """Calls an RPC with an empty request, each time by a connection of its own."""

    def __init__(self, address: str, shown: Certificate, authority: Path, newest: ssl.TLSVersion) -> None:
        """`newest` is the newest version of TLS that the client offers."""
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._context = ssl.create_default_context(cafile=str(authority))
        self._context.load_cert_chain(shown.certificate, shown.key)
        self._context.set_alpn_protocols(["h2"])
        self._context.maximum_version = newest

    def call(self, path: str, session: ssl.SSLSession | None = None) -> Answered:
        """Call the RPC of a path. Offer a session to resume, if one is given."""
        received = b""
        is_resumed, newest = False, None
        # A server ends connections that it does not accept, by TLS 1.2 before the end of the handshake.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(self._address, timeout=TIMEOUT_SECONDS) as raw,
            self._context.wrap_socket(raw, server_hostname="localhost", session=session) as connection,
        ):
            is_resumed = bool(connection.session_reused)
            connection.sendall(
                PREFACE
                + frame(SETTINGS)
                + frame(HEADERS, END_HEADERS, 1, request_headers(path))
                + frame(DATA, END_STREAM, 1, _EMPTY_MESSAGE)
            )
            while _status_in(received) is None and (more := connection.recv(65_536)):
                received += more
            newest = connection.session
        return Answered(_status_in(received), is_resumed, newest)


def _status_in(received: bytes) -> int | None:
    """Return the status in the trailers; None before it has arrived.

    HPACK encodes the status as a literal: its length, then its digits.
    """
    after = received.partition(_STATUS)[2]
    digits = after[1 : 1 + after[0]] if after else b""
    return int(digits) if digits and len(digits) == after[0] else None
