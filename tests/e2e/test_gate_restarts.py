"""`hutong verify -` as a gate runs it, as a process: through restarts of the service, a closed pipe and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clients.examples.node import ALL, Node
from tests.support.client.forked_node import forked_node
from tests.support.client.laboratory_formats import card
from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

PLACE = ("--region", "410105", "--purpose", "hotel")
PIPE = subprocess.PIPE


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node without policies: everybody is let in."""
    with forked_node(tmp_path_factory.mktemp("node"), [ALL], {"HUTONG_UPLOAD_WORKERS": "0"}) as node:
        yield node


class Gate:
    """A running command. Its output is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in ((process.stdout, self.lines), (process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def ask(self, first: int, last: int) -> None:
        """Write one line for each person."""
        assert self.process.stdin
        self.process.stdin.writelines(f"{card(number % 900)}\t示例{number}\n" for number in range(first, last + 1))
        self.process.stdin.flush()

    def finish(self) -> int:
        """Close the input and wait until the command ends. Return its exit code."""
        assert self.process.stdin
        self.process.stdin.close()
        code = self.process.wait(TIMEOUT_SECONDS)
        for reader in self._readers:
            reader.join(TIMEOUT_SECONDS)
        return code

    @staticmethod
    def _read(stream: Iterator[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line)


@contextmanager
def gate(node: Node, *options: str) -> Iterator[Gate]:
    command = [sys.executable, "-m", "hutong_client", "verify", "-", *PLACE, *options]
    with started(command, env=node.environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        yield Gate(process)


def test_a_thousand_lines_through_three_restarts(node: Node) -> None:
    """Each line gets one answer, in order. The service is killed twice and stopped once, while lines wait."""
    with gate(node, "--json") as running:
        for restart, first in enumerate((1, 301, 601)):
            running.ask(first, first + 299)
            wait_until(lambda first=first: len(running.lines) > first)  # type: ignore[misc]
            if restart == 1:
                node.stop()
            else:
                node.kill(ALL)
            if restart == 2:
                running.ask(901, 1_000)
            node.start(ALL)
        assert running.finish() == 5, running.errors
    answers = [json.loads(line) for line in running.lines]
    assert [answer["row"] for answer in answers] == list(range(1, 1_001))
    assert all(answer["decision"]["action"] == "GATE_ACTION_LET_IN" for answer in answers)
    assert "are asked again" in "".join(running.errors)


def test_closed_output_is_quiet(node: Node) -> None:
    """The output is closed early, as by `| head -1`."""
    command = [sys.executable, "-m", "hutong_client", "verify", "-", *PLACE]
    with started(command, env=node.environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(f"{card(1)}\t示例\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("LET IN")
        process.stdout.close()
        process.stdin.write(f"{card(2)}\t示例\n")
        process.stdin.flush()
        assert process.wait(TIMEOUT_SECONDS) == 1
        assert process.stderr.read().splitlines() == []


def test_ctrl_c_is_quiet(node: Node) -> None:
    """The day's totals remain."""
    with gate(node) as running:
        running.ask(1, 1)
        wait_until(lambda: bool(running.lines))
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(TIMEOUT_SECONDS) == 130
        running.finish()
    assert [line.strip() for line in running.errors if line.strip()] == ["1 people: LET IN 1", "hutong: stopped"]
