"""`hutongd` as operators run it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from stdnum.cn import uscc

from services.__main__ import run
from services.command.doctor.findings import Level
from services.storage.migrate import SERVICES, upgrade
from tests.support.databases import PostgresServer
from tests.support.errors import error_info
from tests.support.processes import daemon, hutongd
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# A laboratory that is not registered.
ABSENT = GetLabRequest(name="labs/91410100MA0000001" + uscc.calc_check_digit("91410100MA0000001"))
QUICK = {"upload_workers": "0", "drain_seconds": "5"}


def pepper(directory: Path) -> str:
    """A file with a nation's secret."""
    return str(write_secret(directory / "pepper-of-test"))


async def served(address: str) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that reaches the database."""
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await LabServiceStub(channel).GetLab(ABSENT, timeout=TIMEOUT_SECONDS)
    return caught.value.code(), error_info(caught.value).reason


async def healthy(address: str, state: int) -> None:
    """Wait until the server's health is in a state."""
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(TIMEOUT_SECONDS):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        async for response in watch:
            if response.status == state:
                return


def test_it_serves_drains_and_exits_well(tmp_path: Path) -> None:
    """A second server at its address is refused, SIGHUP ends nothing, SIGTERM ends an upload; it exits with 0."""

    async def use(address: str) -> None:
        await healthy(address, SERVING)
        assert await served(address) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        taken = await asyncio.to_thread(
            hutongd, "serve", "results", data_dir=str(tmp_path / "other"), results_address=address, upload_workers="0"
        )
        assert taken.returncode == 2
        assert f"hutongd: cannot listen at {address}" in taken.stderr
        async with grpc.aio.insecure_channel(address) as channel:
            upload = UploadServiceStub(channel).UploadResults()
            await upload.write(UploadResultsRequest(start=UploadStart(lab=ABSENT.name, upload_id="day")))
            running.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(running.event, "reloading")
            running.process.send_signal(signal.SIGTERM)
            assert await upload.code() is not grpc.StatusCode.OK

    with daemon("serve", "results", data_dir=str(tmp_path), results_address="127.0.0.1:0", **QUICK) as running:
        asyncio.run(use(running.address))
        assert running.process.wait(TIMEOUT_SECONDS) == 0
        assert running.event("draining")
        assert running.event("stopped")["service"] == "results"
    assert (tmp_path / "pepper").stat().st_mode & 0o777 == 0o600
    assert not [line for line in running.log if "Traceback" in line]


def test_a_wrong_setting_is_said_in_one_line(tmp_path: Path) -> None:
    """Exit code 2, before anything is opened."""
    ended = hutongd("serve", "results", data_dir=str(tmp_path / "data"), jurisdicton="410000")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("hutongd: unknown setting HUTONG_JURISDICTON; did you mean HUTONG_JURISDICTION?")
    assert not (tmp_path / "data").exists()


def test_a_setting_found_wrong_while_opening_is_said_too(tmp_path: Path) -> None:
    """Beside a database server the pepper must be given; the line holds no password."""
    url = "postgresql://hutong:t0psecret@localhost:1/results"
    ended = hutongd("serve", "results", data_dir=str(tmp_path), results_database_url=url, results_address="127.0.0.1:0")
    assert ended.returncode == 2
    sources = "HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND"
    assert ended.stderr == f"hutongd: {sources} is required beside a database server\n"


@pytest.mark.parametrize("arguments", [["serve", "laboratory"], ["bake"], []])
def test_wrong_usage_exits_as_a_wrong_setting(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 with the usage."""
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert "usage: hutongd" in capsys.readouterr().err


def test_migrating_builds_the_schema(tmp_path: Path) -> None:
    """The command migrates SQLite and says what it did."""
    ended = hutongd("migrate", "results", data_dir=str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "results: at the newest schema\n", "")
    assert (tmp_path / "results.db").exists()


def test_the_whole_node_is_one_process(tmp_path: Path) -> None:
    """The process serves three times, and an operator's commands find its stores and its settings."""
    variables = {f"{service}_address": "127.0.0.1:0" for service in SERVICES} | {"data_dir": str(tmp_path)}
    with daemon("serve", "all", **variables, **QUICK) as running:
        running.event("serving")
        wait_until(lambda: sum('"event":"serving"' in line for line in running.log) == len(SERVICES))
        shown = hutongd("config", "show", "--json", **variables)
        settings = {one["key"]: one["value"] for one in json.loads(shown.stdout)["settings"]}
        assert settings["data_dir"] == str(tmp_path)
        assert running.terminate() == 0
    found = hutongd("doctor", "results", **variables)
    assert found.returncode < Level.FAULT, found.stdout
    assert "database" in found.stdout


def test_migrating_an_unavailable_server_fails_in_one_line(tmp_path: Path) -> None:
    """Exit code 1: nothing is wrong with the settings."""
    url = f"postgresql://hutong:t0psecret@/results?host={tmp_path}"
    ended = hutongd("migrate", "results", data_dir=str(tmp_path), results_database_url=url)
    assert ended.returncode == 1
    assert ended.stderr.startswith("hutongd: the database of results cannot be migrated now")
    assert "Traceback" not in ended.stderr
    assert "t0psecret" not in ended.stderr


def test_it_waits_for_an_operator_to_migrate(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """On PostgreSQL the service starts and is NOT_SERVING until the schema is migrated.

    It then serves without a restart.
    """
    variables = {
        "data_dir": str(tmp_path),
        "results_address": "127.0.0.1:0",
        "results_database_url": postgres_server.make_empty(),
        "pepper_file": pepper(tmp_path),
    }
    with daemon("serve", "results", **variables, **QUICK) as running:
        asyncio.run(healthy(running.address, NOT_SERVING))
        ended = hutongd("migrate", "results", **variables)
        assert (ended.returncode, ended.stdout) == (0, "results: at the newest schema\n")
        asyncio.run(healthy(running.address, SERVING))
        assert asyncio.run(served(running.address)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert running.terminate() == 0


def test_policy_waits_for_an_operator_too(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """An unmigrated PostgreSQL is said in the log, without a traceback; it serves once it is migrated."""
    variables = {"policy_address": "127.0.0.1:0", "policy_database_url": postgres_server.make_empty()}
    with daemon("serve", "policy", data_dir=str(tmp_path), **variables) as running:
        asyncio.run(healthy(running.address, NOT_SERVING))
        # At the start a busy database may be late. The cause is then in the line of the first check of health.
        running.event("policies not read yet")
        wait_until(lambda: any("hutongd migrate" in line for line in running.log))
        upgrade("policy", variables["policy_database_url"])
        asyncio.run(healthy(running.address, SERVING))
        assert running.terminate() == 0
    assert not [line for line in running.log if "Traceback" in line]


@pytest.mark.parametrize(
    ("arguments", "variables", "cause"),
    [
        (["serve", "policy"], {"policy_database_url": "postgresql+nosuch://x/y"}, "HUTONG_POLICY_DATABASE_URL must be"),
        (["serve", "policy"], {"policy_database_url": "postgresql://x/y?nosuch=1"}, "does not know: nosuch"),
        (["serve", "policy"], {"policy_database_url": "sqlite:////"}, "database of policy cannot be used"),
        (["serve", "policy"], {"tls_server_ca_file": __file__}, "HUTONG_TLS_SERVER_CA_FILE holds no PEM certificate"),
        (["serve", "policy"], {"data_dir": __file__}, "the directory of a SQLite database cannot be made"),
        (["serve", "policy"], {"config": "/nowhere/hutong.toml"}, "the configuration file /nowhere/hutong.toml"),
        (["purge", "--older-than", "30d"], {}, "hutongd migrate results makes it"),
        (
            ["config", "check"],
            {"upstream": "localhost:50051", "jurisdiction": "410000"},
            "HUTONG_UPSTREAM is this node's own Results",
        ),
    ],
)
def test_a_wrong_start_is_one_line(arguments: list[str], variables: dict[str, str], cause: str, tmp_path: Path) -> None:
    """Exit code 2 and one line with the setting or what to do."""
    ended = hutongd(*arguments, **({"data_dir": str(tmp_path), "policy_address": "127.0.0.1:0"} | variables))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("hutongd: ")
    assert cause in line
