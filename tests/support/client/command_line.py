"""Runs the commands of `hutong` against a real node."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run

from clients.examples import generate_day
from clients.examples.node import Node

POLICIES = Path(generate_day.__file__).parent / "policies"


@dataclass(frozen=True)
class Output:
    """The output of a command."""

    stdout: str
    stderr: str


class Shell:
    """Runs `hutong` against a node, in the test's own process because that is faster."""

    def __init__(self, node: Node, traveller: dict[str, str]) -> None:
        self.environment = node.environment
        self.traveller = traveller
        self._addresses = [text for name, address in node.addresses.items() for text in (f"--{name}", address)]

    def __call__(self, *arguments: str, stdin: str = "", code: ExitCode = ExitCode.DONE) -> Output:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), mock.patch("sys.stdin", io.StringIO(stdin)):
            exit_code = run([*self._addresses, *arguments])
        output = Output(out.getvalue(), err.getvalue())
        assert exit_code == code, output
        assert self.traveller["card_no"] not in output.stdout + output.stderr
        return output

    def json(self, *arguments: str, stdin: str = "", code: ExitCode = ExitCode.DONE) -> Any:
        return json.loads(self(*arguments, "--json", stdin=stdin, code=code).stdout)
