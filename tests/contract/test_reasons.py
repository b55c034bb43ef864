"""The exceptions and constants for error reasons are those of the contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("made", ["clients/python/hutong_client/errors/reasons.py", "clients/go/reasons.go"])
def test_reasons_are_fresh(made: str, tmp_path: Path) -> None:
    """`make protos` writes them."""
    fresh = tmp_path / Path(made).name
    command = [sys.executable, "protos/error_reasons.py", "clients/hutong.binpb", str(fresh)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert fresh.read_text("utf-8") == (ROOT / made).read_text("utf-8")
