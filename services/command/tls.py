"""Checks of certificates for `hutongd doctor`: the node's own, its authorities, and the nation's.

The standard library shows the dates of a certificate only after a handshake, so the node's own certificate is checked
by a handshake in memory with a client that trusts exactly this certificate.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.command.findings import Finding, Level
from services.runtime.addresses import split_address
from services.runtime.certificates import check_tls_files
from services.runtime.settings import TlsSettings
from services.runtime.variables import BadSetting

RENEW_DAYS = 30
"""Days before its end from which a certificate ought to be renewed: time for an authority that works on paper."""
DAY_SECONDS = 86_400
OTHERS = 0o077
"""The mode bits that let the file's group and others use it."""


def check_certificates(tls: TlsSettings) -> Iterator[Finding]:
    """Look at the node's own certificate, its key, and the authorities that it trusts."""
    try:
        check_tls_files(tls)
    except BadSetting as error:
        yield Finding("certificates", Level.FAULT, str(error))
        return
    for name, file in (("client authorities", tls.client_ca_file), ("server authorities", tls.server_ca_file)):
        if file is not None:
            yield _check_authorities(name, file)
    if tls.certificate_file is None or tls.key_file is None:
        return
    yield _check_own(tls.certificate_file, tls.key_file)
    if tls.key_file.stat().st_mode & OTHERS:
        yield Finding("certificate's key", Level.WARNING, f"other users may read it: chmod 600 {tls.key_file}")


def _check_authorities(name: str, file: Path) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    found = context.get_ca_certs()
    if not found:
        return Finding(name, Level.FAULT, f"{file} holds no certificate of an authority")
    return _by_end(name, str(file), min(ssl.cert_time_to_seconds(str(one["notAfter"])) for one in found))


def _by_end(name: str, place: str, end: float) -> Finding:
    days = int((end - time.time()) // DAY_SECONDS)
    if days < 0:
        return Finding(name, Level.FAULT, f"{place} has expired: renew it and restart")
    if days < RENEW_DAYS:
        return Finding(name, Level.WARNING, f"{place} expires in {days} days: renew it and restart")
    return Finding(name, Level.OK, f"{place} is valid for {days} days")


def _check_own(certificate: Path, key: Path) -> Finding:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate counts as trusted by itself, whoever signed it. Its dates are checked all the same.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    try:
        shown = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        return Finding("certificate", Level.FAULT, f"{certificate}: {error.verify_message}: renew it and restart")
    return _by_end("certificate", str(certificate), ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Connect a client with a server in memory and return the server's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server)
    for side in (calling, serving, calling):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return calling.getpeercert() or {}


def check_server_certificate(name: str, address: str, tls: TlsSettings, seconds: float) -> Finding:
    """Connect to another node's server as this node does, and look at its certificate."""
    host, port = split_address(address)
    context = ssl.create_default_context(cafile=tls.server_ca_file)
    context.set_alpn_protocols(["h2"])
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            shown = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        text = f"the certificate of {address} is refused ({error.verify_message}): check HUTONG_TLS_SERVER_CA_FILE"
        return Finding(name, Level.FAULT, text)
    except OSError as error:
        cause = error.strerror or str(error)
        return Finding(name, Level.FAULT, f"{address} cannot be reached over TLS ({cause}): check address and network")
    return _by_end(name, f"the certificate of {address}", ssl.cert_time_to_seconds(str(shown["notAfter"])))
