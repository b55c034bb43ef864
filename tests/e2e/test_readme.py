"""The commands in the README work as they are written there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from clients.examples.node import Node
from tests.support.pages import block
from tests.support.processes import run

PORTS = {"results": "127.0.0.1:50051", "policy": "127.0.0.1:50052", "verification": "127.0.0.1:50053"}


def environment(node: Node) -> dict[str, str]:
    """Return the node's environment with the commands of the virtual environment on PATH."""
    return node.environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_python_example_runs(empty_node: Node) -> None:
    """The client example asks a fresh node, where no rule is in force, and prints the answer."""
    example = block("README.md", "python")
    done = run([sys.executable, "-c", example], env=environment(empty_node))
    assert done.returncode == 0, done.stderr
    assert len(example.strip().splitlines()) <= 12


def test_hutong_example_runs(empty_node: Node) -> None:
    """The command gets an answer: undetermined, since a fresh node has no rules. The number is in no argument."""
    (command,) = [
        line for line in block("README.md", "sh", "hutong verify").splitlines() if line.startswith("hutong verify")
    ]
    (number,) = re.findall(r"# type (\d+)", command)
    arguments = shlex.split(command, comments=True)
    assert number not in arguments
    done = run(arguments, env=environment(empty_node), given=f"{number}\n")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "NO_POLICY_IN_FORCE" in done.stdout


def test_chinese_example_runs(empty_node: Node) -> None:
    """The Chinese page has the same example and the same call, and its command takes Chinese words."""
    assert block("README.zh-CN.md", "python") == block("README.md", "python")
    command, _, call = block("README.zh-CN.md", "sh", "hutong verify").partition("\n")
    assert call == block("README.md", "sh", "hutong verify").partition("\n")[2]
    (number,) = re.findall(r"# 输入 (\d+)", command)
    arguments = [*shlex.split(command, comments=True), "--lang", "zh"]
    assert number not in arguments
    done = run(arguments, env=environment(empty_node), given=f"{number}\n")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "无法判定，没有有效的政策" in done.stdout


@pytest.mark.skipif(
    shutil.which("grpcurl") is None, reason="grpcurl is not here; make .tools/grpcurl builds it with Go"
)
def test_grpcurl_example_runs(empty_node: Node) -> None:
    """The grpcurl call finds the service by reflection."""
    script = "grpcurl" + block("README.md", "sh", "grpcurl -plaintext").partition("grpcurl")[2]
    for name, address in PORTS.items():
        script = script.replace(address, empty_node.addresses[name])
    done = run(["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    assert "DECISION_REASON_NO_POLICY_IN_FORCE" in done.stdout
