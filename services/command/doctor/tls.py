"""Checks of certificates for `hutongd doctor`: those of this node, of its authorities, and of the nation."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

from hutong_texts import Text, english
from hutong_texts.system import system_text

from services.command.doctor.findings import Finding, Level
from services.command.doctor.machine import is_open_to_others
from services.runtime.addresses import split_address
from services.runtime.certificates import (
    check_certificate_use,
    check_tls_files,
    is_for_clients,
    is_signed_by,
    read_certificates,
)
from services.runtime.configuration.tls import TlsSettings
from services.runtime.configuration.variables import BadSetting

RENEW_DAYS = 30
"""How many days before its end a certificate ought to be renewed. Authorities that work on paper need this much time.
"""
DAY_SECONDS = 86_400


def check_certificates(tls: TlsSettings) -> Iterator[Finding]:
    """Check the node's own certificate, its key, and the authorities that the node trusts."""
    try:
        check_tls_files(tls)
        check_certificate_use(tls)
    except BadSetting as error:
        yield Finding(english("certificates"), Level.FAULT, error.text)
        return
    if tls.certificate_file is not None and tls.server_ca_file is not None and not is_signed_by(tls):
        yield Finding(
            english("certificate"),
            Level.WARNING,
            english(
                "no authority of HUTONG_TLS_SERVER_CA_FILE signed {file}: other services of this node do not trust it",
                file=tls.certificate_file,
            ),
        )
    if tls.certificate_file is not None and not is_for_clients(tls):
        yield Finding(
            english("certificate"),
            Level.WARNING,
            english("{file} is not for clients: calls to other services need clientAuth", file=tls.certificate_file),
        )
    for name, setting, file in (
        (english("client authorities"), "HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        (english("node authorities"), "HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
        (english("server authorities"), "HUTONG_TLS_SERVER_CA_FILE", tls.server_ca_file),
        (english("certificate"), "HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file),
    ):
        if file is not None:
            ends = [one.not_valid_after_utc.timestamp() for one in read_certificates(setting, file)]
            yield _by_end(name, Text(str(file)), min(ends))
    if tls.key_file is not None and is_open_to_others(tls.key_file):
        yield Finding(
            english("certificate's key"),
            Level.WARNING,
            english("other users may read it: chmod 600 {key_file}", key_file=tls.key_file),
        )


def _by_end(name: Text, place: Text, end: float) -> Finding:
    days = int((end - time.time()) // DAY_SECONDS)
    if days < 0:
        return Finding(name, Level.FAULT, english("{place} has expired: renew it", place=place))
    if days < RENEW_DAYS:
        return Finding(name, Level.WARNING, english("{place} expires in {days} days: renew it", place=place, days=days))
    return Finding(name, Level.OK, english("{place} is valid for {days} days", place=place, days=days))


def check_server_certificate(name: Text, address: str, tls: TlsSettings, seconds: float) -> Finding:
    """Connect to another node's server with this node's TLS settings, and check the server's certificate."""
    host, port = split_address(address)
    context = ssl.create_default_context(cafile=tls.server_ca_file)
    # From 3.13 on, Python refuses certificates without key identifiers, which gRPC accepts.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
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
        text = english(
            "the certificate of {address} is refused ({cause}): check HUTONG_TLS_SERVER_CA_FILE",
            address=address,
            cause=error.verify_message,
        )
        return Finding(name, Level.FAULT, text)
    except OSError as error:
        cause = system_text(error)
        return Finding(
            name,
            Level.FAULT,
            english(
                "{address} cannot be reached over TLS ({cause}): check address and network",
                address=address,
                cause=cause,
            ),
        )
    return _by_end(
        name, english("the certificate of {address}", address=address), ssl.cert_time_to_seconds(str(shown["notAfter"]))
    )
