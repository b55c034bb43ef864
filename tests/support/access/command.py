"""Runs the command `hutong` against guarded services."""

from __future__ import annotations

import asyncio

import pytest
from hutong_client.cli.main import run

from tests.support.access.guarded import Guarded


async def hutong(
    guarded: Guarded, capsys: pytest.CaptureFixture[str], caller: str, *arguments: str
) -> tuple[int, list[str]]:
    """Run the command as a caller. Return its exit code and the lines that it prints."""
    shown = guarded.certificate(caller)
    options = ["--tls-ca", str(guarded.clients.root.certificate)]
    options += ["--tls-certificate", str(shown.certificate), "--tls-key", str(shown.key)]
    for service, address in guarded.addresses.items():
        options += [f"--{service}", address]
    capsys.readouterr()
    code = await asyncio.to_thread(run, [*options, *arguments])
    # The services log to the same output.
    lines = capsys.readouterr().out.splitlines()
    return code, [line for line in lines if "[info" not in line and "[debug" not in line]
