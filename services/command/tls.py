"""Checks of certificates for `hutongd doctor`: the node's own, its authorities, and the nation's."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

from services.command.findings import Finding, Level
from services.command.machine import is_open_to_others
from services.runtime.addresses import split_address
from services.runtime.certificates import check_tls_files, read_certificates
from services.runtime.configuration.tls import TlsSettings
from services.runtime.configuration.variables import BadSetting

RENEW_DAYS = 30
"""A certificate ought to be renewed this many days before it expires. Authorities that work on paper need the time."""
DAY_SECONDS = 86_400


def check_certificates(tls: TlsSettings) -> Iterator[Finding]:
    """Check the node's own certificate, its key, and the authorities that the node trusts."""
    try:
        check_tls_files(tls)
    except BadSetting as error:
        yield Finding("certificates", Level.FAULT, str(error))
        return
    for name, setting, file in (
        ("client authorities", "HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        ("node authorities", "HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
        ("server authorities", "HUTONG_TLS_SERVER_CA_FILE", tls.server_ca_file),
        ("certificate", "HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file),
    ):
        if file is not None:
            ends = [one.not_valid_after_utc.timestamp() for one in read_certificates(setting, file)]
            yield _by_end(name, str(file), min(ends))
    if tls.key_file is not None and is_open_to_others(tls.key_file):
        yield Finding("certificate's key", Level.WARNING, f"other users may read it: chmod 600 {tls.key_file}")


def _by_end(name: str, place: str, end: float) -> Finding:
    days = int((end - time.time()) // DAY_SECONDS)
    if days < 0:
        return Finding(name, Level.FAULT, f"{place} has expired: renew it")
    if days < RENEW_DAYS:
        return Finding(name, Level.WARNING, f"{place} expires in {days} days: renew it")
    return Finding(name, Level.OK, f"{place} is valid for {days} days")


def check_server_certificate(name: str, address: str, tls: TlsSettings, seconds: float) -> Finding:
    """Connect to another node's server with this node's TLS settings, and check the server's certificate."""
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
