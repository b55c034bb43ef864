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

import pytest

from clients.examples.demo import play
from clients.examples.node import Node
from tests.support.pages import block
from tests.support.ports import free_addresses
from tests.support.processes import run, started
from tests.support.waiting import TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "clients.examples.demo"]
PLAY_SECONDS = 900.0
"""The longest time of a demo on a busy machine. On an idle one it takes a minute at most."""


def is_served(address: str) -> bool:
    """Return whether a server listens at an address."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def lines_of(shown: str) -> list[str]:
    """Return the lines of the demo that a page shows, each up to its ellipsis."""
    return [line.removesuffix("...") for line in shown.splitlines()[1:]]


NAMES = re.compile(
    r"""hutong\ [a-z].*|(?:grpcurl|sh)\ .*|[./][\w./-]+|`[^`]*`  # commands and paths
    |<\S+>|(?:labs|jurisdictions|decisions|items|nodes|clients)/[\w/.@-]+|[\w.]+:\d+|R\d+|BX-\d+  # names of resources
    |\b[A-Z]+(?:_[A-Z]+)+\b|\b[a-z]+(?:_[a-z]+)+\b|--[a-z-]+|sars-cov-2-antigen|GB/T|(?<=[（(])[A-Z_]+(?=[）)])
    |\b(?:Hutong|Asia/Shanghai|PATH|Ctrl-C|results|policy|verification|CONFLICT)\b""",
    re.VERBOSE,
)
"""Matches words in Latin letters in every language: names of resources, commands, options and reasons."""


def find_english(told: str) -> list[str]:
    """Return the lines that have an English word besides names."""
    lines = (line for line in told.splitlines() if not line.startswith("    --"))
    return [line for line in lines if re.search(r"[A-Za-z]{2,}", NAMES.sub("", line))]


WORDS = (
    "RECOGNIZED, VALID",
    "EXPIRED",
    "PENDING_RECHECK",
    "NO_POLICY_IN_FORCE",
    "NO_TEST_REQUIRED",
    "NO_RESULT",
    "VALID (sars-cov-2-antigen)",
)
"""What the demo shows in English: every kind of answer."""


def test_the_nation_is_played_to_its_end() -> None:
    """Five nodes recognise results across provinces and without the nation.

    A report is denied, a laboratory is suspended, and a result is recalled. No process is left.
    """
    command = [sys.executable, "-m", "clients.examples.demo_nation"]
    done = run(command, cwd=ROOT, timeout=PLAY_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "accepted 20000",
        "Source nodes/000000/results: ok",
        "Source nodes/410100/results: ok",
        "Zhengzhou's rule for public venues governs there at the nation's node",
        "Without a paper report: UNDETERMINED",
        "With the paper report: RECOGNIZED",
        "is to upload TH-LATE-1",
        "Zhengzhou's node found it unlawful",
        "read with the code at the nation",
        "The paper counts for nothing",
        "The copy counts no more",
        "recalled in Henan's own store",
    ):
        assert told in done.stdout
    addresses = re.findall(r"127\.0\.0\.1:\d+", done.stdout)
    assert len(set(addresses)) == 15
    assert not any(map(is_served, addresses))


@contextlib.contextmanager
def staying(where: Path, addresses: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo with --stay in Chinese, its data in a directory, and its output. It has ended when the block has."""
    environment = os.environ | {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}
    environment |= {f"HUTONG_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    with started(
        [*COMMAND, "--stay"],
        cwd=where,
        env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients/python'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        told = []
        for line in process.stdout:
            told.append(line)
            if "其余的按编号顺序执行" in line:
                break
        assert "Ctrl-C" in "".join(told), "".join(told)
        yield process, "".join(told)
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_SECONDS)


def run_invitation(told: str, addresses: dict[str, str]) -> None:
    """Run each hutong command that the demo printed."""
    environment = os.environ | {f"HUTONG_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    environment |= {"LANGUAGE": "zh_CN", "LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    commands = re.findall(r"^  (hutong (?:.*\\\n)*.*)$", told, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = run(["sh", "-c", command], env=environment)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_demo_plays_in_chinese_and_again_in_english(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --stay the demo serves until Ctrl-C. Then it ends with 0 and stops its three processes.

    The output in Chinese is as the Chinese README shows it, and has no English but names. The commands that it prints
    run. They take names of regions and other words in Chinese. The output in English on the same data has every kind of
    answer, and is as README shows it except for the counts of rows: all rows are duplicates.
    """
    addresses = free_addresses()
    with staying(tmp_path, addresses) as (process, told):
        assert "接收20000，重复20，" in told
        assert (tmp_path / ".hutong/results.db").exists()
        shown = block("README.zh-CN.md", "console", "$ make demo")
        assert [line for line in lines_of(shown) if line not in told] == []
        assert find_english(told) == []
        run_invitation(told, addresses)
        play(Node(tmp_path / ".hutong", addresses), tmp_path)
        again = capsys.readouterr().out
    assert process.returncode == 0
    assert not any(map(is_served, addresses.values()))
    assert [word for word in WORDS if word not in again] == []
    shown = block("README.md", "console", "$ make demo")
    assert "accepted 20000, duplicates 20," in shown
    shown = shown.replace("accepted 20000, duplicates 20,", "accepted 0, duplicates 20020,")
    assert [line for line in lines_of(shown) if line not in again] == []
