"""A SQLite database of Results is served by one process; migrating and purging beside it go on, as does PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from services.__main__ import EXIT_USAGE
from services.storage.errors import UnusableDatabase
from tests.support.databases import MakeUrl
from tests.support.processes import daemon, hutongd
from tests.support.results.factories import make_tubes
from tests.support.results.node import results_node
from tests.support.waiting import TIMEOUT_SECONDS


def test_a_second_server_is_refused_and_an_operator_is_not(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The error is one line. Once the first process is killed by any signal, the next one may start at once."""
    variables = {"data_dir": str(tmp_path), "results_database_url": sqlite_url("results"), "upload_workers": "1"}
    serve = {**variables, "results_address": "127.0.0.1:0"}
    with daemon("serve", "results", **serve) as first:
        assert first.address
        second = hutongd("serve", "results", **serve)
        assert second.returncode == EXIT_USAGE
        assert second.stderr.splitlines() == [
            "hutongd: another process serves this SQLite database; stop it first, or use PostgreSQL"
        ]
        for command in (("migrate", "results"), ("purge", "--older-than", "30d")):
            assert hutongd(*command, **variables).returncode == 0
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(TIMEOUT_SECONDS)
        with daemon("serve", "results", **serve) as next_:
            assert next_.address


async def test_a_server_that_ended_or_failed_to_open_lets_go(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    url = sqlite_url("results")
    other = tmp_path / "other-pepper"
    other.write_bytes(b"q" * 32)
    async with results_node(tmp_path, url) as node:
        await node.register()
        await node.upload(make_tubes(1))
        with pytest.raises(UnusableDatabase):
            async with results_node(tmp_path, url):
                pass
    with contextlib.suppress(ValueError):
        async with results_node(tmp_path, url, pepper_file=str(other)):
            pass
    async with results_node(tmp_path, url) as node:
        assert (await node.upload_state()).committed_offset == 1


async def test_several_processes_serve_one_postgresql(tmp_path: Path, postgres_url: MakeUrl) -> None:
    url = postgres_url("results")
    async with results_node(tmp_path, url) as first, results_node(tmp_path, url) as second:
        await first.register()
        await second.upload(make_tubes(1))
        assert (await first.upload_state()).committed_offset == 1
