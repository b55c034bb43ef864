"""Make authorities and certificates for development: one for a server, and one for each role of the contract.

    python -m clients.examples.certificates .hutong/certs

The keys are not encrypted, and the certificates are valid for a year. Both are for one machine and not for production.
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

TRUST_DOMAIN = "hutong.org"
ROLES = {
    "lab": "labs/91410100MA0000001X",
    "gate": "gates/410100/1",
    "app": "apps/health-code",
    "authority": "authorities/410000",
    "supervisor": "supervisors/410000",
    "operator": "operators/1",
    "edge": "edges/1",
}
"""The name of the caller for each role whose certificate the client authority signs, other than Verification."""
NODE = "410000"
"""The region of the node that certificates are made for."""
_AN_HOUR = dt.timedelta(hours=1)
_A_YEAR = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    def pem(self) -> tuple[bytes, bytes]:
        """Return key and certificate, in the order that gRPC expects."""
        return self.key.read_bytes(), self.certificate.read_bytes()


class Authority:
    """A certificate authority. The files of the authority and of its certificates are in one directory.

    The authority's own certificate is valid from an hour ago until `end` from now. It is signed by the authority
    `above`, or by itself. The chain of authorities below it may have up to `depth` authorities.
    """

    def __init__(
        self, directory: Path, name: str, end: dt.timedelta = _A_YEAR, *, depth: int = 0, above: Authority | None = None
    ) -> None:
        self._directory = directory
        self._end = end
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = (
            _builder(self._name, self._key, -_AN_HOUR, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        self.root = self._write(name, self._key, (above or self).issue(made))

    def sign(
        self,
        name: str,
        *uris: str,
        dns: str = "localhost",
        life: tuple[dt.timedelta, dt.timedelta] | None = None,
        purposes: Collection[x509.ObjectIdentifier] = (),
    ) -> Certificate:
        """Make a certificate for a server on loopback or for a caller, with any URIs.

        `life` is the start and the end of its validity, counted from now. Without `life` it is valid as long as the
        certificate of its authority. `purposes` limits what the certificate may be used for. Without `purposes` it is
        for servers and clients.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.DNSName(dns),
            *map(x509.UniformResourceIdentifier, uris),
        ]
        made = (
            _builder(_named(name), key, *(life or (-_AN_HOUR, self._end)))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        )
        if purposes:
            made = made.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return self._write(name, key, self.issue(made))

    def issue(self, prepared: x509.CertificateBuilder) -> x509.Certificate:
        """Name this authority and its key as the issuer of a certificate, and sign it."""
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        named = prepared.issuer_name(self._name).add_extension(identifier, critical=False)
        return named.sign(self._key, SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, signed: x509.Certificate) -> Certificate:
        files = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        files.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        with open(files.key, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


def make_all(directory: Path, trust_domain: str = TRUST_DOMAIN, node: str = NODE) -> list[Path]:
    """Make two authorities, and certificates for each role, for a node and for its Verification. Return the files.

    `node` is the region of the node.
    """
    directory.mkdir(parents=True, exist_ok=True)
    clients, nodes = Authority(directory, "client-ca"), Authority(directory, "node-ca")
    made = [clients.root, nodes.root]
    names = {**ROLES, "verification": f"services/verification/{node}"}
    made += [clients.sign(role, f"spiffe://{trust_domain}/{name}") for role, name in names.items()]
    made.append(nodes.sign("node", f"spiffe://{trust_domain}/nodes/{node}"))
    return [path for one in made for path in (one.certificate, one.key)]


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: dt.timedelta,
    end: dt.timedelta,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates and lists of revoked ones, or to sign a handshake."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def main() -> None:
    """Make the certificates and print how to serve with them."""
    parser = argparse.ArgumentParser(description="Make development certificates, one for each role.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--trust-domain", default=TRUST_DOMAIN)
    options = parser.parse_args()
    # The parent folder may be created too. It is often the data folder of a node, which must be private.
    os.umask(0o077)
    directory: Path = options.directory
    for path in make_all(directory, options.trust_domain):
        print(path)
    print(f"\nTo serve a node of {NODE} with them:")
    for setting, name in {
        "CERTIFICATE_FILE": "node.pem",
        "KEY_FILE": "node.key",
        "CLIENT_CA_FILE": "client-ca.pem",
        "NODE_CA_FILE": "node-ca.pem",
        "SERVER_CA_FILE": "node-ca.pem",
    }.items():
        print(f"  export HUTONG_TLS_{setting}={directory / name}")
    print(f"  export HUTONG_TRUST_DOMAIN={options.trust_domain} HUTONG_JURISDICTION={NODE}")


if __name__ == "__main__":
    main()
