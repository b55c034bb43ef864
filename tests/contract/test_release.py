"""Tests of releases: the files that a release changes, and the refusal of a breaking change after it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ("CHANGELOG.md", "pyproject.toml", "clients/python/pyproject.toml", "clients/hutong.binpb")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the files that a release changes."""
    for name in (*RELEASED, "protos/release.py", "protos/buf.yaml"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return tmp_path


def run_release(checkout: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, checkout / "protos" / "release.py", version, "--date", "2026-12-01"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_release_sets_version_heading_and_contract(checkout: Path) -> None:
    """A release sets the versions and the CHANGELOG's heading, and copies the contract with its hash."""
    assert run_release(checkout, "0.2.0").returncode == 0
    for name in ("pyproject.toml", "clients/python/pyproject.toml"):
        assert 'version = "0.2.0"' in (checkout / name).read_text()
    assert f"## Unreleased\n\n## 0.2.0 ({date(2026, 12, 1).isoformat()})\n" in (checkout / "CHANGELOG.md").read_text()
    contract = (ROOT / "clients/hutong.binpb").read_bytes()
    assert (checkout / "protos/released/hutong.binpb").read_bytes() == contract
    kept = (checkout / "protos/released/SHA256").read_text()
    assert kept == f"{hashlib.sha256(contract).hexdigest()}  hutong.binpb\n"


def test_an_invalid_version_changes_nothing(checkout: Path) -> None:
    """A text that is not a version is refused before any file is written."""
    before = {name: (checkout / name).read_bytes() for name in RELEASED}
    refused = run_release(checkout, "next")
    assert refused.returncode == 1
    assert "next is not a version" in refused.stderr
    assert {name: (checkout / name).read_bytes() for name in RELEASED} == before


def test_the_released_contract_has_its_hash() -> None:
    """The contract of the last release has the hash stored beside it. Before the first release there is none."""
    released = ROOT / "protos/released"
    if released.exists():
        digest, name = (released / "SHA256").read_text().split()
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest


def test_a_released_field_cannot_be_removed(checkout: Path) -> None:
    """`buf breaking` fails and names the field."""
    buf = ROOT / ".venv-protos/bin/buf"
    if not buf.exists():
        pytest.skip("buf is installed by `make lint`; CI installs it before the tests")
    assert run_release(checkout, "0.2.0").returncode == 0
    contract = FileDescriptorSet.FromString((checkout / "clients/hutong.binpb").read_bytes())
    lab = next(
        message
        for file in contract.file
        for message in file.message_type
        if message.name == "Lab" and len(message.field)
    )
    gone = lab.field[-1].name
    del lab.field[-1]
    (checkout / "clients/hutong.binpb").write_bytes(contract.SerializeToString())
    compared = subprocess.run(
        [
            buf,
            "breaking",
            checkout / "clients/hutong.binpb",
            "--against",
            checkout / "protos/released/hutong.binpb",
            "--config",
            checkout / "protos/buf.yaml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode != 0
    assert gone in compared.stdout + compared.stderr
