"""`hutongd doctor` and `hutongd --version`."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.command.doctor import machine
from services.command.doctor.checks import diagnose
from services.command.doctor.findings import Finding, Level, report, worst
from services.command.doctor.servers import check_clocks
from services.command.doctor.tls import check_certificates
from services.command.version import find_version, version_text
from services.domain.instant import SECOND, Instant
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.server.operators_port import OperatorsPort
from services.storage.migrate import upgrade
from tests.support.certificates import Authority
from tests.support.databases import PostgresServer
from tests.support.ports import free_address, free_addresses


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """The environment of a node with free addresses and an empty folder."""
    addresses = {f"HUTONG_{service.upper()}_ADDRESS": one for service, one in free_addresses().items()}
    return {"HUTONG_INSECURE": "1", "HUTONG_DATA_DIR": str(tmp_path / "data"), **addresses}


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which something listens that is no server of Hutong."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def found(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], *services: str
) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and level and text of each check."""
    code = diagnose(environment, None, services or ("results",), as_json=True)
    findings = json.loads(capsys.readouterr().out)["findings"]
    return code, {one["check"]: (one["level"], one["text"]) for one in findings}


def test_a_new_node_is_well_and_stays_untouched(
    node: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The node has no files yet. The command makes none, and no finding is a fault."""
    code, findings = found(capsys, node, "results", "policy", "verification")
    assert code < Level.FAULT
    assert {level for check, (level, _) in findings.items() if check not in {"clock", "disk"}} == {"ok"}
    assert not (tmp_path / "data").exists()


def test_callers_that_would_be_unknown_are_a_fault(node: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A start without certificates of callers and without HUTONG_INSECURE is refused."""
    del node["HUTONG_INSECURE"]
    code, findings = found(capsys, node)
    assert code == Level.FAULT
    level, text = findings["address of results"]
    assert level == "fault"
    assert "HUTONG_INSECURE=1" in text


def test_services_with_one_address_are_a_fault(node: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The address is free, but only one of the two services could listen at it."""
    node["HUTONG_POLICY_ADDRESS"] = node["HUTONG_RESULTS_ADDRESS"]
    code, findings = found(capsys, node, "results", "policy")
    assert code == Level.FAULT
    assert findings["address of policy"][1].endswith("is the address of results too: change HUTONG_POLICY_ADDRESS")
    assert found(capsys, node, "policy")[1]["address of policy"][0] == "ok"


def test_the_address_of_the_metrics(node: dict[str, str], taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An address may be free, served by a process of Hutong, or taken by something else."""
    check = "address of metrics"
    node["HUTONG_METRICS_ADDRESS"] = free_address()
    assert found(capsys, node)[1][check] == ("ok", f"{node['HUTONG_METRICS_ADDRESS']} is free")
    operators = OperatorsPort(node["HUTONG_METRICS_ADDRESS"], services=1)
    try:
        assert found(capsys, node)[1][check] == ("ok", f"{node['HUTONG_METRICS_ADDRESS']} is served by Hutong")
    finally:
        operators.close()
    level, text = found(capsys, node | {"HUTONG_METRICS_ADDRESS": taken})[1][check]
    assert (level, "change HUTONG_METRICS_ADDRESS" in text) == ("fault", True)


@pytest.mark.parametrize(
    ("given", "reserved", "is_risk"),
    [
        ("1 65535", "", True),
        ("1 65535", "7,1-65535", False),
        ("1 65535", "1-2", True),
        ("65534 65535", "", False),
        (None, "", False),
    ],
)
def test_a_port_that_linux_gives_to_connections_is_a_warning(
    given: str | None,
    reserved: str,
    is_risk: bool,
    node: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A connection that the machine opens would keep the service from listening. Other systems do not say it."""
    for name, text in (("LOCAL_PORTS", given), ("RESERVED_PORTS", reserved)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n", encoding="ascii")
        monkeypatch.setattr(machine, name, tmp_path / name)
    level, text = found(capsys, node)[1]["address of results"]
    assert (level, "ip_local_reserved_ports" in text) == (("warning", True) if is_risk else ("ok", False))


@pytest.mark.parametrize(
    ("owner", "mode", "is_open"),
    [(1000, 0o640, True), (1000, 0o600, False), (0, 0o640, False), (0, 0o644, True), (0, 0o660, True)],
)
def test_a_secret_that_the_system_hands_to_a_group_is_no_warning(
    owner: int, mode: int, is_open: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice of the warning, mode 600, would take such a secret away from the service."""
    secret = tmp_path / "secret"
    secret.touch()
    stated = os.stat_result((mode, 0, 0, 1, owner, owner, 0, 0, 0, 0))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Path, "stat", lambda _self, **_options: stated)
    assert machine.is_open_to_others(secret) is is_open


def test_faults_are_named_with_what_to_do(
    node: dict[str, str], taken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A foreign server at the address, a pepper that is too short, an old schema, an upstream that is silent."""
    short = tmp_path / "short"
    short.write_bytes(b"x")
    upgrade("results", f"sqlite:///{tmp_path}/old.db", "+1")
    code, findings = found(
        capsys,
        node
        | {
            "HUTONG_RESULTS_ADDRESS": taken,
            "HUTONG_PEPPER_FILE": str(short),
            "HUTONG_RESULTS_DATABASE_URL": f"sqlite:///{tmp_path}/old.db",
            "HUTONG_JURISDICTION": "410000",
            "HUTONG_UPSTREAM": free_address(),
        },
    )
    assert code == Level.FAULT
    assert findings["address of results"][0] == "fault"
    assert "Address already in use" in findings["address of results"][1]
    assert findings["pepper"] == ("fault", "HUTONG_PEPPER_FILE gives less than 32 bytes: give the whole secret")
    assert "run hutongd migrate results" in findings["database of results"][1]
    assert findings["upstream"][0] == "fault"


def test_a_setting_that_cannot_be_used_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """The doctor says so in a finding and not in a traceback."""
    code, findings = found(capsys, {"HUTONG_JURISDICTION": "999999"})
    assert code == Level.FAULT
    assert findings["settings"][0] == "fault"


def test_certificates_are_looked_at(tmp_path: Path) -> None:
    """The certificates of these tests end within a day; a key that every user can read is a warning."""
    authority = Authority(tmp_path, "authority")
    own = authority.sign("node")
    os.chmod(own.key, 0o644)
    tls = Settings.from_environment(
        {
            "HUTONG_TLS_CERTIFICATE_FILE": str(own.certificate),
            "HUTONG_TLS_KEY_FILE": str(own.key),
            "HUTONG_TLS_CLIENT_CA_FILE": str(authority.root.certificate),
        }
    ).tls
    findings = {one.check: one for one in check_certificates(tls)}
    assert set(findings) == {"client authorities", "certificate", "certificate's key"}
    assert {one.level for one in findings.values()} == {Level.WARNING}
    assert "expires in 0 days" in findings["certificate"].text


def test_certificates_that_other_services_refuse_are_a_warning(tmp_path: Path) -> None:
    """Certificates that the trusted authority did not sign, or that are for servers only, are a warning."""
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    own = authority.sign("node", purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    for trusted, is_signed in ((authority, True), (other, False)):
        tls = Settings.from_environment(
            {
                "HUTONG_TLS_CERTIFICATE_FILE": str(own.certificate),
                "HUTONG_TLS_KEY_FILE": str(own.key),
                "HUTONG_TLS_SERVER_CA_FILE": str(trusted.root.certificate),
            }
        ).tls
        texts = [one.text for one in check_certificates(tls) if one.level is Level.WARNING]
        assert any("clientAuth" in one for one in texts)
        assert any("signed" in one for one in texts) is not is_signed


def test_files_of_rules_are_read(node: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file with an unknown role is a fault. A file that a start accepts is not."""
    file = tmp_path / "access.yaml"
    for content, level in (("grants:\n- role: guest\n", "fault"), ("grants:\n- role: gate\n", "ok")):
        file.write_text(content)
        file.chmod(0o600)
        _, findings = found(capsys, node | {"HUTONG_ACCESS_FILE": str(file)})
        assert findings["access file"][0] == level


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(0, Level.OK), (10, Level.WARNING), (-10, Level.WARNING), (400, Level.FAULT), (-400, Level.FAULT)],
)
def test_a_clock_that_is_off(ahead: int, level: Level, postgres_server: PostgresServer) -> None:
    """The clock of this machine is compared with that of PostgreSQL: seconds are a warning, minutes a fault."""

    class Off:
        def now(self) -> Instant:
            return SystemClock().now() + ahead * SECOND

    url = postgres_server.make_empty()
    settings = Settings.from_environment({"HUTONG_RESULTS_DATABASE_URL": url, "HUTONG_PEPPER_FILE": "/p"})
    (finding,) = check_clocks(settings, ["results"], Off())
    assert finding.level is level
    assert ("ahead" in finding.text, "behind" in finding.text) == (ahead > 0, ahead < 0)


def test_the_worst_finding_is_the_exit_code() -> None:
    """Each finding is one line."""
    findings = [Finding("a", Level.OK, "x"), Finding("b", Level.WARNING, "y")]
    assert worst(findings) == 1
    assert len(report(findings, as_json=False).splitlines()) == 2


def test_the_version_names_the_commit() -> None:
    """A checkout asks git; without git and metadata the commit is unknown."""
    assert re.fullmatch(r"hutongd \S+ \(commit ([0-9a-f]{40}(-dirty)?|unknown)\)", version_text())
    assert find_version()[0] != ""
