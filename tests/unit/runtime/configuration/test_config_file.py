"""The TOML file of settings: read by the same declarations as the environment, which wins over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.configuration.settings import Settings, given_texts
from services.runtime.configuration.variables import BadSetting


def written(directory: Path, text: str) -> Path:
    """Write a configuration file."""
    file = directory / "hutong.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_sets_what_the_environment_leaves_out(tmp_path: Path) -> None:
    """A file that HUTONG_CONFIG names or that is passed counts alike; an empty variable leaves the file's value."""
    file = written(
        tmp_path,
        'jurisdiction = "410000"\nmax_calls = 7\ndrain_seconds = 2\n[results]\naddress = "127.0.0.1:1"\n'
        '[policy]\naddress = "127.0.0.1:2"\n',
    )
    environment = {"HUTONG_CONFIG": str(file), "HUTONG_POLICY_ADDRESS": "127.0.0.1:9", "HUTONG_MAX_CALLS": ""}
    settings = Settings.from_environment(environment)
    assert (settings.jurisdiction, settings.max_calls, settings.drain_seconds) == ("410000", 7, 2.0)
    assert (settings.results.address, settings.policy.address) == ("127.0.0.1:1", "127.0.0.1:9")
    assert Settings.from_environment(environment | {"HUTONG_CONFIG": "/nowhere"}, file) == settings
    assert given_texts(environment)["HUTONG_POLICY_ADDRESS"] == ("127.0.0.1:9", "environment")
    assert given_texts(environment)["HUTONG_MAX_CALLS"] == ("7", str(file))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("jurisdiction = ", "is no TOML"),
        ('jurisdicton = "410000"', r"unknown setting jurisdicton; did you mean jurisdiction\?"),
        ('[results]\naddres = "x"', r"unknown setting results.addres; did you mean results.address\?"),
        ('[gate]\naddress = "x"', "unknown setting gate"),
        ('results_address = "127.0.0.1:1"', "unknown setting results_address"),
        ("jurisdiction = 410000", "jurisdiction must be a text in quotes"),
        ('max_calls = "7"', "max_calls must be a whole number"),
        ("max_calls = 7.5", "max_calls must be a whole number"),
        ("max_calls = true", "max_calls must be a whole number"),
        ("drain_seconds = [2]", "drain_seconds must be a number"),
        ('results = "x"', "unknown setting results"),
        ("max_calls = 0", "HUTONG_MAX_CALLS must be a whole number, at least 1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(text: str, cause: str, tmp_path: Path) -> None:
    """Malformed TOML, unknown keys, wrong types and values out of bounds."""
    with pytest.raises(BadSetting, match=cause):
        Settings.from_environment({}, written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file, and one that is no text."""
    with pytest.raises(BadSetting, match="cannot be read: No such file"):
        Settings.from_environment({"HUTONG_CONFIG": str(tmp_path / "none")})
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="is no TOML"):
        Settings.from_environment({}, file)
