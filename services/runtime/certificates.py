"""Reads and checks the TLS files before gRPC does. gRPC itself reports only that a port cannot be bound."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID
from hutong_texts import Text, english

from services.runtime.configuration.open_files import find_open_rules, find_open_secret
from services.runtime.configuration.tls import TlsSettings
from services.runtime.configuration.unreadable import unreadable
from services.runtime.configuration.variables import BadSetting


def check_tls_files(tls: TlsSettings) -> None:
    """Check that the certificate, its key and the authorities can be used.

    Raises:
        BadSetting: a file cannot be read, a file has the wrong content, or the key belongs to another certificate.
    """
    for name, authorities in (
        ("HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        ("HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
        ("HUTONG_TLS_SERVER_CA_FILE", tls.server_ca_file),
    ):
        if authorities is not None:
            read_certificates(name, authorities)
    if tls.certificate_file is None or tls.key_file is None:
        return
    read_certificates("HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file)
    try:
        # With the empty password, a key that has a passphrase fails. Without any password, OpenSSL would ask for the
        # passphrase at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate_file, tls.key_file, password="")
    except ssl.SSLError as error:
        cause = (
            english("is not the key of HUTONG_TLS_CERTIFICATE_FILE: name the key for which the certificate was made")
            if error.reason == "KEY_VALUES_MISMATCH"
            else english(
                "holds no PEM private key without a passphrase, or HUTONG_TLS_CERTIFICATE_FILE is broken: write the "
                "key by openssl pkey"
            )
        )
        raise BadSetting(
            english("HUTONG_TLS_KEY_FILE {key_file} {cause}", cause=cause, key_file=tls.key_file)
        ) from None
    except OSError as error:
        raise BadSetting(
            english("{name} {fault}", name="HUTONG_TLS_KEY_FILE", fault=unreadable(tls.key_file, error))
        ) from None


def check_certificate_use(tls: TlsSettings) -> None:
    """Check that other nodes and callers can accept the certificate now, and that authorities may sign certificates.

    A running process goes on when its certificate expires. Only a start and `hutongd config check` therefore call this
    function.

    Raises:
        BadSetting: the certificate has expired, is not valid yet, or is not for servers; or a file of authorities has a
            certificate that may not sign others.
    """
    for name, authorities in (
        ("HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        ("HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
        ("HUTONG_TLS_SERVER_CA_FILE", tls.server_ca_file),
    ):
        for one in () if authorities is None else read_certificates(name, authorities):
            if not _may_sign(one):
                raise BadSetting(
                    english(
                        "{name} holds a certificate that is no authority's: {file}; leave it out",
                        name=name,
                        file=authorities,
                    )
                )
    if (file := tls.certificate_file) is None:
        return
    own, now = read_certificates("HUTONG_TLS_CERTIFICATE_FILE", file)[0], dt.datetime.now(dt.UTC)
    if own.not_valid_after_utc < now:
        raise BadSetting(english("HUTONG_TLS_CERTIFICATE_FILE has expired: {file}; renew it", file=file))
    if own.not_valid_before_utc > now:
        raise BadSetting(
            english("HUTONG_TLS_CERTIFICATE_FILE is not valid yet: {file}; check the clock of this machine", file=file)
        )
    if not _is_for(own, ExtendedKeyUsageOID.SERVER_AUTH):
        raise BadSetting(
            english("HUTONG_TLS_CERTIFICATE_FILE is not for servers: {file}; have it signed with serverAuth", file=file)
        )


def is_for_clients(tls: TlsSettings) -> bool:
    """Return whether other services accept the node's certificate when the node calls them as a client."""
    assert tls.certificate_file is not None
    own = read_certificates("HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file)[0]
    return _is_for(own, ExtendedKeyUsageOID.CLIENT_AUTH)


def _is_for(certificate: x509.Certificate, purpose: x509.ObjectIdentifier) -> bool:
    """Return whether a certificate is for a purpose. A certificate that names no purposes is for all purposes."""
    try:
        named = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return True
    return bool(named & {purpose, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


def _may_sign(certificate: x509.Certificate) -> bool:
    """Return whether a certificate may be used as an authority. A self-signed certificate may be trusted for itself."""
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return True
    return is_authority or certificate.issuer == certificate.subject


def is_signed_by(tls: TlsSettings) -> bool:
    """Return whether an authority of HUTONG_TLS_SERVER_CA_FILE signed a certificate of the node's chain."""
    assert tls.certificate_file is not None
    assert tls.server_ca_file is not None
    chain = read_certificates("HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file)
    trusted = read_certificates("HUTONG_TLS_SERVER_CA_FILE", tls.server_ca_file)
    return any(_is_issuer(authority, one) for one in chain for authority in trusted)


def _is_issuer(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def require_private_tls_files(tls: TlsSettings) -> None:
    """Check that not every user of the machine can use the key or change the other files.

    Raises:
        BadSetting: every user can use the key or change another file. The text of the error has the command that
            prevents it.
    """
    for fault in find_open_tls_files(tls):
        raise BadSetting(fault)


def find_open_tls_files(tls: TlsSettings) -> Iterator[Text]:
    """Yield a text for the key if every user can use it, and for each other file that every user can change."""
    if tls.key_file is not None and (fault := find_open_secret("HUTONG_TLS_KEY_FILE", tls.key_file)):
        yield fault
    for setting, file in (
        ("HUTONG_TLS_CERTIFICATE_FILE", tls.certificate_file),
        ("HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        ("HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
        ("HUTONG_TLS_SERVER_CA_FILE", tls.server_ca_file),
    ):
        if file is not None and (fault := find_open_rules(setting, file)):
            yield fault


def read_certificates(setting: str, file: Path) -> list[x509.Certificate]:
    """Return the certificates of the PEM file that a setting names.

    Raises:
        BadSetting: the file cannot be read or holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise BadSetting(english("{name} {fault}", name=setting, fault=unreadable(file, error))) from None
    except ValueError:
        raise BadSetting(
            english(
                "{setting} holds no PEM certificate: {file}; correct the file or the setting",
                setting=setting,
                file=file,
            )
        ) from None


def channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    """Return the credentials of a client of this node: the authorities that it trusts, and its certificate if any."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.server_ca_file.read_bytes() if tls.server_ca_file else None,
        private_key=tls.key_file.read_bytes() if tls.key_file else None,
        certificate_chain=tls.certificate_file.read_bytes() if tls.certificate_file else None,
    )
