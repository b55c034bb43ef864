"""`hutong report`: signing and verifying without a network."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import NamedTuple

import pytest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run
from hutong_client.reports import signed

NUMBER = "410105186001010019"
SIGN = (
    "report", "sign", "--lab", "91220502MA000LAB8G", "--report-number", "R7", "--outcome", "negative",
    "--report-time", "2022-08-10T12:00:00+08:00", "--number", "-", "--name", "张三丰",
)  # fmt: skip


class Files(NamedTuple):
    """A laboratory's keys, and another one's public key."""

    key: Path
    public: Path
    other: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "lab.key", tmp_path / "lab.pub", tmp_path / "other.pub")
    assert run(["report", "new-key", str(made.key), str(made.public)]) == ExitCode.DONE
    assert run(["report", "new-key", str(tmp_path / "other.key"), str(made.other)]) == ExitCode.DONE
    return made


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_report_is_signed_and_verified_offline(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report is verified with its holder and without.

    For another key or document the command says so, with exit code 1.
    """
    capsys.readouterr()
    type_in(monkeypatch, NUMBER)
    assert run([*SIGN, "--key", str(files.key), "--qr", str(tmp_path / "r.svg")]) == ExitCode.DONE
    text = capsys.readouterr().out.strip()
    assert (tmp_path / "r.svg").read_bytes().startswith(b"<?xml")
    assert signed.read(text).report.is_for(NUMBER)
    verify = ["report", "verify", text, "--public-key", str(files.public)]
    assert run(verify) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "signature: good" in shown
    assert "masked name: 张**" in shown
    assert NUMBER not in shown + text
    for language in ("en", "zh"):
        assert run([*verify, "--number", NUMBER, "--json", "--lang", language]) == ExitCode.DONE
        told = json.loads(capsys.readouterr().out)
        assert (told["holder"], told["outcome"]) == ("this document", "OUTCOME_NEGATIVE")
    assert run([*verify, "--number", NUMBER, "--lang", "zh"]) == ExitCode.DONE
    assert {"签名：有效", "结果判定：阴性", "持有人：是该证件"} < {*capsys.readouterr().out.splitlines()}
    assert run([*verify, "--number", "1"]) == ExitCode.FAILED
    assert run(["report", "verify", text, "--public-key", str(files.other)]) == ExitCode.FAILED
    assert "not good with these keys" in capsys.readouterr().out


def test_a_key_that_others_can_read_is_refused(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new key is readable by its owner alone, and no key is overwritten."""
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert run(["report", "new-key", str(files.key), str(files.public)]) == ExitCode.USAGE
    for mode in (0o640, 0o604, 0o620):
        files.key.chmod(mode)
        type_in(monkeypatch, NUMBER)
        assert run([*SIGN, "--key", str(files.key)]) == ExitCode.USAGE
        assert f"chmod 600 {files.key}" in capsys.readouterr().err


def test_what_is_no_report_or_no_key_is_said(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "verify", "R7", "--public-key", str(files.public)]) == ExitCode.USAGE
    assert "TEXT is no signed report" in capsys.readouterr().err
    assert run(["report", "verify", "R7", "--public-key", str(files.public), "--lang", "zh"]) == ExitCode.USAGE
    assert "TEXT 不是签名报告：必须以 HTR1: 开头" in capsys.readouterr().err
    files.public.write_text("no key")
    assert run(["report", "verify", "R7", "--public-key", str(files.public)]) == ExitCode.USAGE
