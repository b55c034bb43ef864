"""TLS and mutual TLS: a caller without a right certificate gets no answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.lab_service_pb2 import GetLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub

from services.runtime.client.channels import open_channel
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.server import start
from tests.support.certificates import Authority, Certificate, spiffe
from tests.support.fake_service import pretend
from tests.support.servers import serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Nation:
    """An authority with a node and a caller, and another authority with a caller."""

    authority: Certificate
    node: Certificate
    caller: Certificate
    other_authority: Certificate
    stranger: Certificate

    def settings(self, directory: Path, *, mutual: bool) -> Settings:
        """A node that serves TLS, and asks for its callers' certificates if mutual."""
        files = {
            "tls_certificate_file": str(self.node.certificate),
            "tls_key_file": str(self.node.key),
            "tls_server_ca_file": str(self.authority.certificate),
        }
        if mutual:
            files["tls_client_ca_file"] = str(self.authority.certificate)
        return settings_for(directory, **files)


@pytest.fixture(scope="module")
def nation(tmp_path_factory: pytest.TempPathFactory) -> Nation:
    """Certificates for the tests of this module."""
    directory = tmp_path_factory.mktemp("certificates")
    ours, theirs = Authority(directory, "ours"), Authority(directory, "theirs")
    node, caller = ours.sign("node", spiffe("services/verification")), ours.sign("caller", spiffe("apps/1"))
    return Nation(ours.root, node, caller, theirs.root, theirs.sign("stranger", spiffe("apps/1")))


async def code_of(address: str, roots: Certificate | None, own: Certificate | None = None) -> grpc.StatusCode:
    """Return how a call ends.

    Without `roots` it is in plain text. Otherwise it trusts them and may show a certificate.
    """
    if roots is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        key, chain = own.pem() if own else (None, None)
        credentials = grpc.ssl_channel_credentials(roots.certificate.read_bytes(), key, chain)
        channel = grpc.aio.secure_channel(address, credentials)
    async with channel:
        code = await LabServiceStub(channel).GetLab(GetLabRequest(name="labs/1"), timeout=TIMEOUT_SECONDS).code()
    assert isinstance(code, grpc.StatusCode)
    return code


async def test_tls_serves_clients_that_trust_it(nation: Nation, tmp_path: Path) -> None:
    """A client that trusts the server's authority is answered. One in plain text or with another authority is not."""
    async with serving(pretend(), nation.settings(tmp_path, mutual=False)) as address:
        assert await code_of(address, nation.authority) is grpc.StatusCode.OK
        assert await code_of(address, None) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(address, nation.other_authority) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(address, nation.authority) is grpc.StatusCode.OK


async def test_mutual_tls_serves_our_own_callers_alone(nation: Nation, tmp_path: Path) -> None:
    """No certificate, or one that another authority signed, and the connection is refused."""
    async with serving(pretend(), nation.settings(tmp_path, mutual=True)) as address:
        assert await code_of(address, nation.authority, nation.caller) is grpc.StatusCode.OK
        assert await code_of(address, nation.authority) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(address, nation.authority, nation.stranger) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(address, nation.authority, nation.caller) is grpc.StatusCode.OK


@pytest.mark.parametrize("mutual", [False, True])
async def test_nodes_find_each_other_by_their_settings(mutual: bool, nation: Nation, tmp_path: Path) -> None:
    """The channel that a service opens to another one of the same settings works."""
    settings = nation.settings(tmp_path, mutual=mutual)
    async with serving(pretend(), settings) as address, open_channel(address, settings) as channel:
        response = await LabServiceStub(channel).GetLab(GetLabRequest(name="labs/1"), timeout=TIMEOUT_SECONDS)
        assert response.lab.name == "labs/1"


async def test_a_node_that_only_calls_needs_no_certificate(nation: Nation, tmp_path: Path) -> None:
    """HUTONG_TLS_SERVER_CA_FILE alone: it calls over TLS, and serves loopback in plain text."""
    caller = settings_for(tmp_path, tls_server_ca_file=str(nation.authority.certificate))
    async with (
        serving(pretend(), nation.settings(tmp_path, mutual=False)) as address,
        open_channel(address, caller) as channel,
    ):
        assert await LabServiceStub(channel).GetLab(GetLabRequest(name="labs/1"), timeout=TIMEOUT_SECONDS)


@pytest.mark.parametrize("broken", ["certificate", "key", "pair"])
async def test_certificates_that_cannot_serve_are_refused_at_start(broken: str, nation: Nation, tmp_path: Path) -> None:
    """Garbage in either file, or a key that is another certificate's: said as such, not as a port that is taken."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    certificate, key = {
        "certificate": (garbage, nation.node.key),
        "key": (nation.node.certificate, garbage),
        "pair": (nation.node.certificate, nation.caller.key),
    }[broken]
    settings = settings_for(tmp_path, tls_certificate_file=str(certificate), tls_key_file=str(key))
    with pytest.raises(BadSetting, match="HUTONG_TLS_CERTIFICATE_FILE"):
        await start(pretend(), "127.0.0.1:0", settings)
