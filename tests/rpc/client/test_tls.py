"""The client over TLS and mutual TLS: right certificates are answered, and others get a plain message."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, ListLabsRequest
from hutong_client import Batch, DeadlineExceeded, Tls, TlsFault, Unavailable, UploadSession, connect
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run

from services.results.main import open_results
from tests.support.certificates import Authority, spiffe
from tests.support.link import link_to
from tests.support.results.factories import LAB_NAME, lab_to_register, make_tube
from tests.support.servers import serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS


async def test_client_shows_its_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The certificate comes from the library, options or the environment.

    Without a certificate the connection fails.
    """
    authority = Authority(tmp_path, "ours")
    server, caller = authority.sign("node"), authority.sign("caller", spiffe("apps/1"))
    settings = settings_for(
        tmp_path,
        tls_certificate_file=str(server.certificate),
        tls_key_file=str(server.key),
        tls_client_ca_file=str(authority.root.certificate),
    )
    own = Tls(authority.root.certificate, caller.certificate, caller.key)
    variables = {
        "HUTONG_TLS_SERVER_CA_FILE": str(own.ca_file),
        "HUTONG_TLS_CERTIFICATE_FILE": str(own.certificate_file),
        "HUTONG_TLS_KEY_FILE": str(own.key_file),
    }
    options = ["--tls-ca", str(own.ca_file), "--tls-certificate", str(own.certificate_file), "--tls-key"]
    async with serving(await open_results(settings), settings) as address:

        def list_labs(tls: Tls | None, environment: dict[str, str]) -> None:
            with connect(results=address, tls=tls, environment=environment) as node:
                node.labs.ListLabs(ListLabsRequest(), timeout=TIMEOUT_SECONDS)

        await asyncio.to_thread(list_labs, own, {})
        await asyncio.to_thread(list_labs, None, variables)
        command = ["lab", "list", "--results", address]
        assert await asyncio.to_thread(run, [*command, *options, str(own.key_file)]) == ExitCode.DONE
        for wrong in (None, Tls(own.ca_file)):
            with pytest.raises(Unavailable, match="client certificates"):
                await asyncio.to_thread(list_labs, wrong, {})
        foreign = Authority(tmp_path, "foreign").root.certificate
        with pytest.raises(TlsFault, match="trusted authority"):
            await asyncio.to_thread(list_labs, Tls(foreign), {})
        with pytest.raises(TlsFault, match="cannot be used"):
            await asyncio.to_thread(list_labs, Tls(own.ca_file, own.certificate_file, server.key), {})
        assert await asyncio.to_thread(run, command) == ExitCode.NO_CONNECTION
    assert "UNAVAILABLE" in capsys.readouterr().err


async def test_slow_link_connects_and_uploads(tmp_path: Path) -> None:
    """Over mutual TLS with round trips of 0.4 s; a caller's deadline that is too short for them ends the call."""
    authority = Authority(tmp_path, "ours")
    server, caller = authority.sign("node"), authority.sign("lab", spiffe(LAB_NAME))
    supervisor = authority.sign("supervisor", spiffe("supervisors/000000"))
    settings = settings_for(
        tmp_path,
        tls_certificate_file=str(server.certificate),
        tls_key_file=str(server.key),
        tls_client_ca_file=str(authority.root.certificate),
    )
    service = await open_results(settings)
    async with serving(service, settings) as address, link_to(address) as link:
        link.slow(0.2)

        def register() -> None:
            tls = Tls(authority.root.certificate, supervisor.certificate, supervisor.key)
            with connect(results=address, tls=tls, environment={}) as node:
                node.labs.CreateLab(CreateLabRequest(lab=lab_to_register()), timeout=TIMEOUT_SECONDS)

        def upload() -> None:
            tls = Tls(authority.root.certificate, caller.certificate, caller.key)
            with connect(results=link.address, tls=tls, environment={}) as node:
                with pytest.raises(DeadlineExceeded):
                    node.labs.ListLabs(ListLabsRequest(), timeout=0.2)
                assert node.labs.ListLabs(ListLabsRequest(), timeout=TIMEOUT_SECONDS).labs
                [sent] = UploadSession(node.uploads, LAB_NAME, "slow").send([Batch([make_tube(1)], None)])
                assert sent.response.accepted_count == 1

        await asyncio.to_thread(register)
        await asyncio.to_thread(upload)
