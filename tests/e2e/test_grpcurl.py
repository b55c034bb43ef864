"""Every served RPC is shown by a grpcurl script, and every script runs against a real node with the real grpcurl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.examples.node import ALL, Node
from tests.support.client.forked_node import forked_node
from tests.support.processes import run as run_command

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "clients/examples/grpcurl").glob("*.sh"))
# In `make test` it is on the PATH; a bare pytest finds the one that make built.
GRPCURL = shutil.which("grpcurl") or shutil.which("grpcurl", path=str(ROOT / ".tools"))

# Methods that nodes call with keys and logs that no user has, and methods that only a node's own services call.
# Operators call ListNodes instead.
NOT_FOR_PEOPLE = {
    "hutong.results.internal.v1.InternalAuditService/ReportAuditHeads",
    "hutong.results.internal.v1.InternalLookupService/BatchLookupColumns",
    "hutong.results.internal.v1.InternalMissingReportService/ListDeniedReports",
    "hutong.policy.v1.PolicyExchangeService/SendPolicies",
    "hutong.exchange.v1.RefusalExchangeService/ExchangeRefusals",
} | {
    f"hutong.exchange.v1.ExchangeService/{method}"
    for method in ("AdmitNode", "Replicate", "LookupSubjects", "SubscribeSubjects", "WatchNotifications")
}
# Methods that only a node with nodes below it can answer. A node that begins empty has none.
NEEDS_NODES = {f"hutong.exchange.v1.ExchangeService/{method}" for method in ("RetireNode", "ReinstateNode")}

pytestmark = pytest.mark.skipif(GRPCURL is None, reason="no grpcurl: `make .tools/grpcurl` builds it, with Go")


def run(node: Node, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that finds the node by its environment, and grpcurl on its path."""
    assert GRPCURL
    environment = node.environment
    environment["PATH"] = f"{Path(GRPCURL).parent}:{environment['PATH']}"
    return run_command(command, env=environment)


def answers(output: str) -> list[dict[str, object]]:
    """The JSON objects that grpcurl printed, one after another."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while position < len(output.rstrip()):
        value, position = decoder.raw_decode(
            output, position + len(output[position:]) - len(output[position:].lstrip())
        )
        found.append(value)
    return found


def shown() -> set[str]:
    """The methods that the scripts call."""
    return {method for path in SCRIPTS for method in re.findall(r"hutong\.\w+\.v1\.\w+/\w+", path.read_text("utf-8"))}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that begins empty."""
    with forked_node(tmp_path_factory.mktemp("node"), [ALL]) as running:
        yield running


@pytest.fixture(scope="module")
def rounds(node: Node) -> list[dict[str, subprocess.CompletedProcess[str]]]:
    """The output of every script. All scripts ran in the order of their names on an empty node, and then once more."""
    return [{path.stem: run(node, "sh", str(path)) for path in SCRIPTS} for _ in range(2)]


@pytest.mark.parametrize("name", [path.stem for path in SCRIPTS])
def test_script_runs(rounds: list[dict[str, subprocess.CompletedProcess[str]]], name: str) -> None:
    """Each script exits with 0 and prints the answer as JSON, also in the second round.

    No script disturbs another one.
    """
    for done in (each[name] for each in rounds):
        assert done.returncode == 0, done.stderr
        assert answers(done.stdout)


def test_every_served_method_has_a_script(node: Node) -> None:
    """Each method that reflection lists has a script, except methods that are not for people."""
    listed = set()
    for address in node.addresses.values():
        names = run(node, "grpcurl", "-plaintext", address, "list").stdout.split()
        for name in (name for name in names if name.startswith("hutong.")):
            methods = run(node, "grpcurl", "-plaintext", address, "list", name).stdout.split()
            listed |= {"/".join(method.rsplit(".", 1)) for method in methods}
    assert listed == shown() | NOT_FOR_PEOPLE | NEEDS_NODES
    assert not shown() & NOT_FOR_PEOPLE
