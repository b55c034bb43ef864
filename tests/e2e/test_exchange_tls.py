"""Replication and reported refusals over mutual TLS, between processes as operators run them.

Each node speaks for itself alone.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import grpc
import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from services.results.exchange.tables import nodes
from services.results.records.tables import results
from services.verification.refusals.tables import refusal_links
from tests.support.certificates import Authority, Certificate, spiffe
from tests.support.ports import free_address
from tests.support.processes import Daemon, daemon
from tests.support.results.country import HENAN, read_rows
from tests.support.results.factories import LAB_NAME, lab_to_register, make_tubes
from tests.support.results.node import batch_of, start
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS, until

PERSONS = 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs for the nodes of this test."""
    return Authority(tmp_path, "authority")


def settings(directory: Path, region: str, authority: Authority, own: Certificate) -> dict[str, str]:
    """A node's, whose servers and callers show certificates of the authority."""
    directory.mkdir(exist_ok=True)
    pepper = write_secret(directory / "pepper-of-tests")
    return {
        "results_address": "127.0.0.1:0",
        "results_database_url": f"sqlite:///{directory}/results.db",
        "verification_database_url": f"sqlite:///{directory}/verification.db",
        "data_dir": str(directory),
        "pepper_file": str(pepper),
        "jurisdiction": region,
        "upload_workers": "0",
        "tls_certificate_file": str(own.certificate),
        "tls_key_file": str(own.key),
        "tls_server_ca_file": str(authority.root.certificate),
        "tls_client_ca_file": str(authority.root.certificate),
        "tls_node_ca_file": str(authority.root.certificate),
    }


def verification_settings(directory: Path, region: str, authority: Authority, own: Certificate) -> dict[str, str]:
    """Return the settings of a Verification whose Results and Policy do not run."""
    addresses = {"results_address": free_address(), "policy_address": free_address()}
    return settings(directory, region, authority, own) | addresses | {"verification_address": "127.0.0.1:0"}


def open_channel(address: str, authority: Authority, name: str) -> grpc.aio.Channel:
    """Connect as a caller with a certificate of the authority."""
    key, chain = authority.sign(name.replace("/", "-"), spiffe(name)).pem()
    root = authority.root.certificate.read_bytes()
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(root, key, chain))


async def upload(province: Daemon, authority: Authority) -> None:
    """Let an operator register a laboratory of the province, and the laboratory report."""
    address = await asyncio.to_thread(lambda: province.address)
    async with (
        open_channel(address, authority, "operators/1") as operator,
        open_channel(address, authority, LAB_NAME) as laboratory,
    ):
        await LabServiceStub(operator).CreateLab(CreateLabRequest(lab=lab_to_register()), timeout=TIMEOUT_SECONDS)
        frames = iter([start(), batch_of(make_tubes(PERSONS))])
        answers = [
            answer async for answer in UploadServiceStub(laboratory).UploadResults(frames, timeout=TIMEOUT_SECONDS)
        ]
    assert answers[-1].accepted_count == PERSONS


async def test_a_node_replicates_by_its_own_certificate_and_by_no_other(tmp_path: Path, authority: Authority) -> None:
    """Henan with Jilin's certificate is refused by the nation and keeps what it has; with its own all of it arrives."""
    henan, jilin = (authority.sign(name, spiffe(f"nodes/{region}")) for name, region in (("a", HENAN), ("b", "220000")))
    nation_settings = settings(tmp_path / "nation", "000000", authority, authority.sign("nation"))
    url = nation_settings["results_database_url"]
    with daemon("serve", "results", **nation_settings) as nation:
        upstream = {"upstream": await asyncio.to_thread(lambda: nation.address)}
        province = tmp_path / "henan"
        with daemon("serve", "results", **settings(province, HENAN, authority, jilin), **upstream) as stranger:
            await upload(stranger, authority)
            refused = "replication to the nation interrupted"
            await asyncio.to_thread(partial(stranger.event, refused, why="PERMISSION_DENIED"))
            assert read_rows(url, nodes, "node") == []
            assert await asyncio.to_thread(stranger.terminate) == 0
        with daemon("serve", "results", **settings(province, HENAN, authority, henan), **upstream):
            await until(lambda: len(read_rows(url, results, "source_node")) == PERSONS)
    assert set(read_rows(url, results, "source_node")) == {(HENAN,)}


async def test_refusals_are_exchanged_by_a_nodes_own_certificate_and_by_no_other(
    tmp_path: Path, authority: Authority
) -> None:
    """Henan with Jilin's certificate is refused by the nation. With its own certificate the exchange begins."""
    henan, jilin = (authority.sign(name, spiffe(f"nodes/{region}")) for name, region in (("a", HENAN), ("b", "220000")))
    nation_settings = verification_settings(tmp_path / "nation", "000000", authority, authority.sign("nation"))
    url = nation_settings["verification_database_url"]
    with daemon("serve", "verification", **nation_settings) as nation:
        address = await asyncio.to_thread(lambda: nation.address)
        upstream = {"upstream": address, "upstream_policy": address, "upstream_verification": address}

        def below(own: Certificate) -> dict[str, str]:
            return verification_settings(tmp_path / "henan", HENAN, authority, own) | upstream

        with daemon("serve", "verification", **below(jilin)) as stranger:
            refused = "reported refusals are not exchanged with the node above"
            await asyncio.to_thread(partial(stranger.event, refused, why="PERMISSION_DENIED"))
            assert read_rows(url, refusal_links, "node") == []
            assert await asyncio.to_thread(stranger.terminate) == 0
        with daemon("serve", "verification", **below(henan)):
            await until(lambda: read_rows(url, refusal_links, "node", "is_above") == [(HENAN, False)])
