"""`hutong-health`: the answer of a process decides the exit code."""

from __future__ import annotations

import sys

import pytest

from services.command.probe import HEALTHY, UNHEALTHY, USAGE, probe
from services.runtime.server.health.checks import HealthReport
from services.runtime.server.operators_port import OperatorsPort
from tests.support.ports import free_address
from tests.support.processes import run


@pytest.mark.parametrize("serving", [True, False])
def test_the_answer_decides(serving: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer of the process is printed."""
    address = free_address()
    port = OperatorsPort(address, 1)
    port.add("results", lambda: HealthReport(serving, 0.0))
    try:
        assert probe([], address) == probe([address], "") == (HEALTHY if serving else UNHEALTHY)
    finally:
        port.close()
    assert f'"serving": {str(serving).lower()}' in capsys.readouterr().out


def test_no_answer_is_unhealthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe([], free_address()) == UNHEALTHY
    assert "no answer at 127.0.0.1:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ([], ""),
        (["9464"], ""),
        (["a:b"], ""),
        (["a:65537"], ""),
        (["http://a:1"], ""),
        (["--x"], "a:1"),
        (["a:1", "b:1"], ""),
    ],
)
def test_wrong_usage_has_its_exit_code(arguments: list[str], address: str) -> None:
    assert probe(arguments, address) == USAGE


def test_a_probe_imports_nothing_heavy() -> None:
    """A container runs it every few seconds."""
    done = run(
        [sys.executable, "-c", "import sys, services.command.probe; print({'grpc', 'sqlalchemy'} & {*sys.modules})"]
    )
    assert done.stdout == "set()\n", done.stderr
