"""Callers by their certificates. A certificate is read once; later calls find what was read by its text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256

from services.domain.instant import Instant, from_datetime
from services.runtime.caller import Caller
from services.runtime.server.access.names import parse_caller, parse_spiffe_id

REMEMBERED = 10_000
"""Certificates that are remembered: more than a node has callers. One takes about 2 KiB."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate states: its caller, without the address of a connection, and until when it holds."""

    caller: Caller
    expire_time: Instant


class Certificates:
    """Reads certificates that the transport has verified against the client authorities.

    A node's certificate must be signed by one of `node_authorities` itself. Without them no certificate is a node's.
    An authority that is in `node_authorities` alone signs no certificate of any other caller.
    At the node `jurisdiction`, its own certificate stands for its own Verification.
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
        self._sole_node_authorities = [one for one in node_authorities if one not in client_authorities]
        self._remembered: OrderedDict[tuple[bytes, bytes], Identity] = OrderedDict()

    def identify(self, shown: Mapping[str, Sequence[bytes]]) -> Identity:
        """Return the identity of the certificate in a connection's auth context."""
        # gRPC states a SPIFFE ID only for a certificate with exactly one URI.
        ids, certificates = shown.get("peer_spiffe_id", ()), shown.get("x509_pem_cert", ())
        if len(certificates) != 1:
            return Identity(Caller("", fault="no certificate was shown"), 0)
        key = (certificates[0], ids[0] if len(ids) == 1 else b"")
        found = self._remembered.get(key)
        if found is None:
            found = self._remembered[key] = self._read(*key)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    def _read(self, pem: bytes, spiffe_id: bytes) -> Identity:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            return Identity(Caller("", fault="the certificate cannot be read"), 0)
        fingerprint = certificate.fingerprint(SHA256()).hex()
        expire_time = from_datetime(certificate.not_valid_after_utc)
        name = parse_spiffe_id(spiffe_id.decode(errors="replace"), self._trust_domain)
        found = parse_caller(name)
        fault = ""
        if found is None:
            fault = f"the certificate has no URI of a caller as its only one, under spiffe://{self._trust_domain}/"
        elif found[0] == "node" and not _is_signed_by(certificate, self._node_authorities):
            fault = "the certificate of a node must be signed by an authority of HUTONG_TLS_NODE_CA_FILE"
        elif found[0] != "node" and _is_signed_by(certificate, self._sole_node_authorities):
            fault = "an authority of HUTONG_TLS_NODE_CA_FILE signs certificates of nodes alone"
        if found is None or fault:
            return Identity(Caller("", certificate_hash=fingerprint, fault=fault), expire_time)
        role, region = found
        if role == "node" and region == self._jurisdiction:
            role = "verification"
        return Identity(Caller(role, name, region, certificate_hash=fingerprint), expire_time)


def _is_signed_by(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False
