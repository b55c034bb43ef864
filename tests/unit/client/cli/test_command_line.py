"""The texts that the command line accepts, and its answers to other texts."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import click
import pytest
from hutong_client import errors
from hutong_client.cli.exit_codes import ExitCode, describe_exit_codes
from hutong_client.cli.failures import describe_error, exit_code_of
from hutong_client.cli.main import hutong, run
from hutong_client.cli.options import NodeCommand, hide_identities

from tests.support.client.laboratory_files import CARDS

README = Path(__file__).parents[4] / "clients/python/README.md"


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found += all_commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", all_commands(hutong), ids=" ".join)
def test_every_command_explains_itself_and_speaks_json(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """--help exits 0 and names --json."""
    assert run([*path, "--help"]) == ExitCode.DONE
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("path", all_commands(hutong), ids=" ".join)
def test_example_of_a_help_can_be_parsed(path: tuple[str, ...]) -> None:
    """A renamed option or word of an example fails here. The files that an example names need not exist."""
    command: click.Command = hutong
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    if isinstance(command, NodeCommand) and command.example:
        fault = ""
        try:
            command.make_context(" ".join(path), shlex.split(command.example))
        except click.BadParameter as error:
            fault = error.message
        assert not fault or "does not exist" in fault


def test_exit_codes_stand_in_the_help_and_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """The same table in both."""
    run(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert " ".join(describe_exit_codes().split()) in help_text
    assert describe_exit_codes() in README.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["lookup", CARDS[0]],
        ["lookup", "--number", CARDS[0], CARDS[1]],
        ["lookup", "--type", CARDS[0], "--number", CARDS[1]],
        ["verify", "--number", CARDS[0], "--purpose", CARDS[1]],
        ["verify", "--number", CARDS[0], "--use-time", CARDS[1]],
        ["verify", "--number", CARDS[0], "--evidence", f"lab={CARDS[1]},{CARDS[2]}"],
        ["upload", f"/tmp/{CARDS[0]}.csv", "--lab", "x"],
        ["lookup", "--number", CARDS[0], "--results", "127.0.0.1:1"],
    ],
)
def test_no_message_repeats_an_identity(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """However the command line was muddled up."""
    assert run(arguments) in (ExitCode.USAGE, ExitCode.NO_CONNECTION)
    told = "".join(capsys.readouterr())
    assert told
    assert not any(card in told for card in CARDS)


@pytest.mark.parametrize("number", [*CARDS, "H00000101", "M0000010101", "X12345678", "00000001"])
def test_numbers_of_every_kind_are_hidden(number: str) -> None:
    """Cards, permits and passports."""
    assert number not in hide_identities(f"Got unexpected extra argument ({number})")


def test_address_may_stand_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """People write it in both places."""
    for arguments in (["--results", "127.0.0.1:1", "lab", "list"], ["lab", "list", "--results", "127.0.0.1:1"]):
        assert run(arguments) == ExitCode.NO_CONNECTION
        assert "127.0.0.1:1" in capsys.readouterr().err


def test_number_can_come_on_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If nothing is on standard input, this is a usage error."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["lookup", "--number", "-"]) == ExitCode.USAGE
    assert "standard input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidArgument, ExitCode.FAILED),
        (errors.Internal, ExitCode.FAILED),
        (errors.NotServed, ExitCode.FAILED),
        (errors.Unavailable, ExitCode.NO_CONNECTION),
        (errors.DeadlineExceeded, ExitCode.NO_CONNECTION),
        (errors.ConnectionCut, ExitCode.NO_CONNECTION),
    ],
)
def test_failures_that_pass_have_a_code_of_their_own(kind: type[errors.HutongError], code: ExitCode) -> None:
    """A script may try again on 6 and must not on 1."""
    assert exit_code_of(kind("x")) == code


def test_failure_is_one_line_with_reason_and_fields() -> None:
    """Whatever line breaks the service's text has."""
    details = errors.Details(
        reason="INVALID_FIELD",
        field_violations=[errors.FieldViolation("region", "INVALID_FIELD", "must be six digits")],
    )
    assert describe_error(errors.InvalidArgument("faulty\nfields", details)) == (
        "INVALID_FIELD: faulty fields (region: must be six digits)"
    )


def test_former_name_of_missing_reports_is_understood_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts that call `hutong follow-ups` go on working."""
    assert run(["follow-ups", "--help"]) == ExitCode.DONE
    capsys.readouterr()
    run(["--help"])
    shown = capsys.readouterr().out
    assert "missing-reports" in shown
    assert "follow-ups" not in shown
