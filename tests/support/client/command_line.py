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
from clients.examples.day import LAB
from clients.examples.node import Node
from tests.support.client.laboratory_formats import TITLES, card, person
from tests.support.client.laboratory_formats import csv as csv_file

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


def upload_of_negatives(folder: Path, *numbers: int) -> tuple[str, ...]:
    """Write a file with a negative of each person. Return the arguments that upload it.

    The times are those of no other test's results, because tests share a node.
    """
    times = {"sample_date": "2022-08-15 06:00:00", "report_date": "2022-08-15 12:00:00"}
    file = csv_file([TITLES, *(person(number, **times) for number in numbers)])(folder)
    return ("upload", str(file), "--lab", LAB, "--timezone", "Asia/Shanghai", "--region", "220502")


def upload_negatives(hutong: Shell, folder: Path, *numbers: int) -> list[str]:
    """Upload a negative of each person. Return the names of the results."""
    hutong(*upload_of_negatives(folder, *numbers))
    return [hutong.json("lookup", "--number", card(number))["in_region"][0]["name"] for number in numbers]
