"""Tests who is identified by certificates and tokens as time goes on.

Real handshakes show this only on long connections.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from services.domain.instant import MINUTE, SECOND
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock, SystemClock
from services.runtime.server.access.certificates import Certificates
from services.runtime.server.access.identify import Identifier
from services.runtime.server.access.names import parse_caller, parse_spiffe_id
from tests.support.certificates import TRUST_DOMAIN, Authority, spiffe
from tests.support.servers import settings_for


class Context:
    """A call of one connection."""

    def __init__(self, pem: bytes, spiffe_id: str) -> None:
        self._shown = {"x509_pem_cert": [pem], "peer_spiffe_id": [spiffe_id.encode()]}

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._shown

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return ()


def test_a_certificate_expires_on_an_open_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    shown = authority.sign("operator", spiffe("operators/1"), life=(-dt.timedelta(hours=1), dt.timedelta(minutes=10)))
    clock = FixedClock(SystemClock().now())
    server = authority.sign("server")
    settings = settings_for(
        tmp_path,
        tls_certificate_file=str(server.certificate),
        tls_key_file=str(server.key),
        tls_client_ca_file=str(authority.root.certificate),
    )
    identifier = Identifier(settings, clock)
    context = Context(shown.certificate.read_bytes(), spiffe("operators/1"))
    assert identifier.identify(context).role == "operator"
    clock.advance(9 * MINUTE)
    assert identifier.identify(context).role == "operator"
    clock.advance(MINUTE + SECOND)
    expired = identifier.identify(context)
    assert (expired.role, expired.fault) == ("", "the certificate has expired")


def test_an_edge_and_the_caller_behind_it_can_both_be_denied(tmp_path: Path) -> None:
    """Each by its own name, and for a stream that was opened before."""
    authority = Authority(tmp_path, "ca")
    server, deny_list = authority.sign("server"), tmp_path / "denied"
    for denied, is_out in (("gates/410100/7", True), ("edges/1", True), ("gates/410100/8", False)):
        deny_list.write_text(spiffe(denied))
        settings = settings_for(
            tmp_path,
            tls_certificate_file=str(server.certificate),
            tls_key_file=str(server.key),
            tls_client_ca_file=str(authority.root.certificate),
            deny_file=str(deny_list),
        )
        caller = Caller("gate", "gates/410100/7", "410100", certificate_name="edges/1", serial=1)
        assert bool(Identifier(settings, SystemClock()).find_fault(caller)) is is_out


def test_a_certificate_whose_names_cannot_all_be_read_is_no_callers() -> None:
    """Beside the URI it has an address of X.400. gRPC states the URI all the same."""
    uri, now = spiffe("operators/1").encode(), dt.datetime.now(dt.UTC)
    names = b"\x86" + bytes([len(uri)]) + uri + b"\xa3\x00"
    encoded = b"\x30" + bytes([len(names)]) + names
    key, nobody = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    certificate = (
        x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, now, now + dt.timedelta(days=1))
        .add_extension(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, encoded), critical=False)
        .sign(key, hashes.SHA256())
    )
    shown = {"x509_pem_cert": [certificate.public_bytes(Encoding.PEM)], "peer_spiffe_id": [uri]}
    caller = Certificates(TRUST_DOMAIN, "410000", [], []).identify(shown)
    assert (caller.role, caller.name) == ("", "")
    assert "has no URI of a caller" in caller.fault


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("labs/91410100MA0000001X", ("lab", "")),
        ("gates/410100/7", ("gate", "410100")),
        ("apps/health-code", ("app", "")),
        ("authorities/410000", ("authority", "410000")),
        ("supervisors/000000", ("supervisor", "000000")),
        ("nodes/220000", ("node", "220000")),
        ("services/verification/220000", ("verification", "220000")),
        ("services/verification", ("verification", "")),
        ("services/verification/999999", None),
        ("services/verification/", None),
        ("operators/1", ("operator", "")),
        ("edges/envoy.1", ("edge", "")),
        ("labs/91410100MA00000010", None),
        ("labs/91410100ma0000001x", None),
        ("gates/410100", None),
        ("gates/410100/", None),
        ("gates/410100/7/8", None),
        ("gates/410100/..", None),
        ("operators/.", None),
        ("operators/..1", ("operator", "")),
        ("gates/999999/7", None),
        ("gates/４１０１００/7", None),
        ("nodes/220000\n", None),
        ("/nodes/220000", None),
        ("local", None),
        ("", None),
    ],
)
def test_a_name_has_one_form(name: str, found: tuple[str, str] | None) -> None:
    assert parse_caller(name) == found


def test_a_trust_domain_is_the_whole_authority_of_the_id() -> None:
    assert parse_spiffe_id("spiffe://hutong.org/operators/1", "hutong.org") == "operators/1"
    for other in (
        "spiffe://hutong.org.x/operators/1",
        "spiffe://xhutong.org/operators/1",
        "https://hutong.org/operators/1",
    ):
        assert parse_spiffe_id(other, "hutong.org") == ""
