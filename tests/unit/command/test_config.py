"""`hutongd config`: every setting with its source and without its secrets, and the example file."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from services.__main__ import run
from services.command.config import check_settings, example, show_settings
from services.runtime.configuration.settings import DECLARED, Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.migrate import SERVICES

EXAMPLE = Path(__file__).parents[3] / "deploy/hutong.toml"


def test_show_names_every_setting_with_its_source_and_no_secret(tmp_path: Path) -> None:
    """A password in a database URL is in neither output."""
    file = tmp_path / "hutong.toml"
    file.write_text(
        'jurisdiction = "410000"\n[results]\ndatabase_url = "postgresql://u:t0psecret@db/r?sslpassword=als0"\n'
    )
    environment = {"HUTONG_MAX_CALLS": "7"}
    rows = {row["key"]: row for row in json.loads(show_settings(environment, file, as_json=True))["settings"]}
    assert set(rows) == {one.key for one in DECLARED.values()}
    assert (rows["jurisdiction"]["value"], rows["jurisdiction"]["source"]) == ("410000", str(file))
    assert (rows["max_calls"]["value"], rows["max_calls"]["source"]) == (7, "environment")
    assert (rows["data_dir"]["value"], rows["data_dir"]["source"]) == (".hutong", "default")
    assert rows["results.database_url"]["value"] == "postgresql://db/r"
    shown = show_settings(environment, file, as_json=False) + json.dumps(rows)
    assert "t0psecret" not in shown
    assert "als0" not in shown


def test_the_example_names_every_setting_with_its_default() -> None:
    """The committed file is the printed one; with every line in force it is the default configuration."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text == example(), "run: hutongd config example > deploy/hutong.toml"
    assert tomllib.loads(text) == {table: {} for table in ("policy", "results", "tls", "verification")}
    in_force = re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert sum(line.startswith(tuple("abcdefghijklmnopqrstuvwxyz")) for line in in_force.splitlines()) == len(DECLARED)


def test_the_example_in_force_is_the_default(tmp_path: Path) -> None:
    """No default is stated otherwise than it is."""
    file = tmp_path / "hutong.toml"
    file.write_text(re.sub(r"^#(\w+ = )", r"\1", example(), flags=re.MULTILINE), encoding="utf-8")
    assert Settings.from_environment({}, file) == Settings.from_environment({})


LOCAL = {"HUTONG_INSECURE": "1"}
"""The environment of a node whose callers are all local."""


def test_check_refuses_what_a_start_would_refuse(tmp_path: Path) -> None:
    """An address for other machines without mutual TLS, unknown callers, and a file without a certificate."""
    with pytest.raises(BadSetting, match="can be reached from other machines"):
        check_settings(Settings.from_environment(LOCAL | {"HUTONG_POLICY_ADDRESS": "0.0.0.0:50052"}))
    with pytest.raises(BadSetting, match="callers would be unknown"):
        check_settings(Settings.from_environment({}))
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    with pytest.raises(BadSetting, match="HUTONG_TLS_SERVER_CA_FILE holds no PEM certificate"):
        check_settings(Settings.from_environment(LOCAL | {"HUTONG_TLS_SERVER_CA_FILE": str(garbage)}))
    with pytest.raises(BadSetting, match="HUTONG_PEPPER_FILE cannot be read"):
        check_settings(Settings.from_environment(LOCAL | {"HUTONG_PEPPER_FILE": str(tmp_path / "missing")}))
    with pytest.raises(BadSetting, match="required beside a database server"):
        check_settings(Settings.from_environment(LOCAL | {"HUTONG_RESULTS_DATABASE_URL": "postgresql://db/results"}))
    check_settings(Settings.from_environment(LOCAL | {"HUTONG_PEPPER_COMMAND": "false"}))
    check_settings(Settings.from_environment(LOCAL))


def test_check_of_one_service_looks_at_its_settings_only(tmp_path: Path) -> None:
    """Policy needs no pepper, and the others' addresses and workers are not its own."""
    for service, fault, environment in (
        ("verification", "can be reached from other machines", {"HUTONG_VERIFICATION_ADDRESS": "0.0.0.0:50053"}),
        ("results", "served by one process", {"HUTONG_RESULTS_WORKERS": "2"}),
        ("results", "put the file there", {"HUTONG_PEPPER_FILE": str(tmp_path / "missing")}),
    ):
        settings = Settings.from_environment(LOCAL | environment)
        check_settings(settings, ["policy"])
        for services in ([service], SERVICES):
            with pytest.raises(BadSetting, match=fault):
                check_settings(settings, services)


def test_check_takes_the_name_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of no service it checks all three."""
    checked: list[list[str]] = []
    monkeypatch.setattr("services.__main__.check_settings", lambda _settings, services: checked.append(services))
    assert run(["config", "check", "results"]) == run(["config", "check"]) == 0
    assert checked == [["results"], list(SERVICES)]


@pytest.mark.parametrize("name", [name for name in DECLARED if name.endswith("_FILE")])
def test_a_missing_file_of_any_setting_says_what_to_do(name: str, tmp_path: Path) -> None:
    given = {name: str(tmp_path / "missing"), "HUTONG_PEPPER_OTHER_VERSION": "2" if "OTHER" in name else "0"}
    with pytest.raises(BadSetting, match=rf"^{name} cannot be read: {tmp_path}/missing: .*; put the file there"):
        check_settings(Settings.from_environment(LOCAL | given))


def test_check_reads_the_keys_of_tokens(tmp_path: Path) -> None:
    """A start would refuse a file that is no key set."""
    keys = tmp_path / "keys.json"
    keys.write_text("{}")
    settings = replace(Settings.from_environment(LOCAL), token_keys_file=keys)
    with pytest.raises(BadSetting, match="HUTONG_TOKEN_KEYS_FILE holds no JSON Web Key Set"):
        check_settings(settings)


def test_a_pipe_that_breaks_elsewhere_is_not_taken_for_a_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe of a worker that cannot start breaks too. Its fault must not end the command without a word."""

    def breaks(*_arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("services.__main__.check_settings", breaks)
    with pytest.raises(BrokenPipeError):
        run(["config", "check"])
