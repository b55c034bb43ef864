"""The network between a client and a service: plain and near, or mutual TLS with a delay each way."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.certificates import Authority, Certificate
from tests.support.link import Link, link_to

DELAY_SECONDS = 0.5


class Network:
    """Links between a client and services.

    Attributes:
        delay: the seconds that each way takes.
        tls: the client's files for mutual TLS, as the `dial` command takes them; None for plain text.
    """

    def __init__(self, delay: float = 0.0, tls: dict[str, str] | None = None, server: ssl.SSLContext | None = None):
        self.delay = delay
        self.tls = tls
        self._server = server

    @contextlib.asynccontextmanager
    async def link(self, address: str) -> AsyncIterator[Link]:
        """Open a link to a service, which a check may disturb. The proxy ends the client's TLS."""
        async with contextlib.AsyncExitStack() as stack:
            if self._server:
                address = (await stack.enter_async_context(link_to(address, self._server))).address
            link = await stack.enter_async_context(link_to(address))
            link.slow(self.delay)
            yield link


def near() -> Network:
    """Return a network of plain text without a delay."""
    return Network()


def distant(directory: Path) -> Network:
    """Return a network of mutual TLS with a delay each way. Certificates are written to the directory."""
    authority = Authority(directory, "conformance")
    server, caller = authority.sign("node"), authority.sign("caller")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(authority.root.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    return Network(DELAY_SECONDS, tls_files(authority, caller), context)


def tls_files(authority: Authority, caller: Certificate) -> dict[str, str]:
    """Return the files of a caller as the `dial` command takes them."""
    return {
        "ca": str(authority.root.certificate),
        "certificate": str(caller.certificate),
        "key": str(caller.key),
    }
