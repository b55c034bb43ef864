"""Finds callers by their certificates. A certificate is parsed once.

Later calls find the caller by the certificate's text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from hutong_texts import english

from services.domain.instant import from_datetime
from services.runtime.caller import Caller
from services.runtime.server.access.names import parse_caller, parse_spiffe_id

_log = structlog.get_logger(__name__)
REMEMBERED = 10_000
"""How many parsed certificates are kept. A node has fewer callers. Each certificate takes about 2 KiB."""


class Certificates:
    """Reads certificates that the transport has verified against the client authorities.

    A node's certificate must be signed directly by one of `node_authorities`. Without these authorities no caller is a
    node.

    An authority that is in `node_authorities` alone may sign for nodes alone. gRPC verifies a certificate against all
    authorities and does not show which of them has signed it. If there is such an authority, the certificate of any
    other caller must therefore be signed directly by one of `client_authorities`.

    `jurisdiction` is the region of this node. A caller whose certificate names this region, as a node or as
    Verification, is this node's own Verification. The Verification of another node is no caller here. A certificate of
    Verification that names no region is accepted until release 1.0, with a warning in the log.
    """

    def __init__(
        self,
        trust_domain: str,
        jurisdiction: str,
        node_authorities: Sequence[x509.Certificate],
        client_authorities: Sequence[x509.Certificate],
    ) -> None:
        self._trust_domain = trust_domain
        self._jurisdiction = jurisdiction
        self._node_authorities = node_authorities
        self._clients = client_authorities
        self._sole_node_authorities = [one for one in node_authorities if one not in client_authorities]
        self._remembered: OrderedDict[tuple[bytes, bytes], Caller] = OrderedDict()

    def identify(self, shown: Mapping[str, Sequence[bytes]]) -> Caller:
        """Return the caller of the certificate in a connection's auth context.

        The address of the connection is not set yet.
        """
        # gRPC states a SPIFFE ID only for a certificate with exactly one URI.
        ids, certificates = shown.get("peer_spiffe_id", ()), shown.get("x509_pem_cert", ())
        if len(certificates) != 1:
            return Caller("", fault=english("no certificate was shown"))
        key = (certificates[0], ids[0] if len(ids) == 1 else b"")
        found = self._remembered.get(key)
        if found is None:
            found = self._remembered[key] = self._read(*key)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    def _read(self, pem: bytes, spiffe_id: bytes) -> Caller:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            return Caller("", fault=english("the certificate cannot be read"))
        fingerprint = certificate.fingerprint(SHA256()).hex()
        # gRPC cuts a URI off at a NUL. What gRPC states therefore counts only if the certificate has exactly this URI.
        stated = spiffe_id.decode(errors="replace")
        name = parse_spiffe_id(stated, self._trust_domain) if _uris_of(certificate) == [stated] else ""
        found = parse_caller(name)
        fault = ""
        if found is None:
            fault = english(
                "the certificate has no URI of a caller as its only one, under spiffe://{trust_domain}/",
                trust_domain=self._trust_domain,
            )
        elif found[0] == "node" and not _is_signed_by(certificate, self._node_authorities):
            fault = english("the certificate of a node must be signed by an authority of HUTONG_TLS_NODE_CA_FILE")
        elif found[0] != "node" and _is_signed_by(certificate, self._sole_node_authorities):
            fault = english("an authority of HUTONG_TLS_NODE_CA_FILE signs certificates of nodes alone")
        elif found[0] != "node" and self._sole_node_authorities and not _is_signed_by(certificate, self._clients):
            fault = english(
                "the certificate must be signed by an authority in HUTONG_TLS_CLIENT_CA_FILE itself; add its authority"
            )
        elif found == ("verification", ""):
            _log.warning("certificate of Verification without a node", serial=f"{certificate.serial_number:x}")
        elif found[0] == "verification" and found[1] != self._jurisdiction:
            fault = english("the certificate is that of another node's Verification")
        serial, expire_time = certificate.serial_number, from_datetime(certificate.not_valid_after_utc)
        if found is None or fault:
            return Caller("", certificate_hash=fingerprint, serial=serial, expire_time=expire_time, fault=fault)
        role, region = found
        if role == "node" and region == self._jurisdiction:
            role = "verification"
        return Caller(
            role,
            name,
            region,
            certificate_hash=fingerprint,
            certificate_name=name,
            serial=serial,
            expire_time=expire_time,
        )


def _uris_of(certificate: x509.Certificate) -> list[str]:
    """Return the URIs among the certificate's subject alternative names; none if the names cannot be read."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _is_signed_by(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False
