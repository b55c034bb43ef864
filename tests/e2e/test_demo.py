"""The demo plays its whole story against real processes, and leaves none behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from clients.examples.node import free_addresses

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "clients.examples.demo"]


def is_served(address: str) -> bool:
    """Whether anybody listens there."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_demo_tells_its_story() -> None:
    """It exits 0, tells every kind of answer, and stops its three processes."""
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in (
        "RECOGNIZED, VALID",
        "EXPIRED",
        "PENDING_RECHECK",
        "NO_POLICY_IN_FORCE",
        "NO_TEST_REQUIRED",
        "NO_RESULT",
    ):
        assert word in done.stdout
    assert "accepted 20000" in done.stdout
    addresses = re.findall(r"127\.0\.0\.1:\d+", done.stdout)
    assert len(set(addresses)) == 3
    assert not any(map(is_served, addresses))


@contextlib.contextmanager
def staying(where: Path, addresses: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The demo with --stay, its data in a directory; the block begins when all is told."""
    environment = os.environ | {f"HUTONG_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    process = subprocess.Popen(
        [*COMMAND, "--stay"],
        cwd=where,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout
        told = []
        for line in process.stdout:
            told.append(line)
            if "Ctrl-C" in line:
                break
        assert told, "the demo said nothing"
        assert "Ctrl-C" in told[-1], "".join(told)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_demo_stays_and_comes_again(tmp_path: Path) -> None:
    """With --stay it serves until Ctrl-C; started again on the same data it tells the same and stores nothing twice."""
    addresses = free_addresses()
    for _ in range(2):
        with staying(tmp_path, addresses) as process:
            assert all(map(is_served, addresses.values()))
            assert (tmp_path / ".hutong/results.db").exists()
        assert process.returncode == 0
        assert not any(map(is_served, addresses.values()))
