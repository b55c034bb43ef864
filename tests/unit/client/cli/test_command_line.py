"""What the command line understands, and how it answers what it does not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import click
import pytest
from hutong.type.v1 import channel_pb2, identity_pb2, outcome_pb2, purpose_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client import errors
from hutong_client.cli.evidence import EvidenceOf
from hutong_client.cli.exit_codes import ExitCode, describe_exit_codes
from hutong_client.cli.main import describe_error, exit_code_of, hutong, run
from hutong_client.cli.options import PURPOSE, hide_identities, read_instant
from hutong_client.cli.people import read_lines, read_people, read_question
from hutong_client.tables.rows import NotATable

from tests.unit.client.files import CARDS

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
    """And nothing there is an error of usage."""
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


def test_words_are_taken_in_every_spelling() -> None:
    """As people write them and as the contract does."""
    for text in ("public-venue", "PUBLIC_VENUE", "PURPOSE_PUBLIC_VENUE"):
        assert PURPOSE.convert(text, None, None) == purpose_pb2.PURPOSE_PUBLIC_VENUE


def test_instant_needs_its_zone() -> None:
    """A command line has no --timezone."""
    assert read_instant("2022-08-11T09:30:00+08:00").seconds == 1_660_181_400
    with pytest.raises(ValueError, match=r"\+08:00"):
        read_instant("2022-08-11T09:30:00")


def test_evidence_is_read_part_by_part() -> None:
    """A code alone is a laboratory; negative is meant when nothing is said; JSON is taken too."""
    text = "channel=paper-report,lab=91220502MA000LAB8G,report_number=R1,report_time=2022-08-11T09:30:00+08:00"
    evidence = EvidenceOf().convert(text, None, None)
    assert evidence.channel == channel_pb2.CHANNEL_PAPER_REPORT
    assert evidence.lab == "labs/91220502MA000LAB8G"
    assert evidence.outcome == outcome_pb2.OUTCOME_NEGATIVE
    assert evidence.report_time.seconds == 1_660_181_400
    assert EvidenceOf().convert('{"report_number": "R1"}', None, None).report_number == "R1"
    for wrong in ("channel=carrier-pigeon", "colour=red", "{"):
        with pytest.raises(click.UsageError):
            EvidenceOf().convert(wrong, None, None)


TEMPLATE = VerifyRequest(region="410105", purpose=purpose_pb2.PURPOSE_HOTEL)


def test_people_of_a_csv_differ_from_the_template_where_they_say_so(tmp_path: Path) -> None:
    """Region, purpose and time by row; a bad row is told and the others are asked."""
    path = tmp_path / "people.csv"
    path.write_text(
        "证件号码,证件类型,region,purpose,use_time\n"
        f"{CARDS[0]},,,,\n"
        f"{CARDS[1]},居民身份证,310104,city-transport,2022-08-11T09:30:00+08:00\n"
        "4.1E+17,居民身份证,,,\n",
        encoding="utf-8",
    )
    first, second, bad = read_people(path, TEMPLATE)
    assert (first.mark, first.request.region, first.request.document.type) == (
        "2",
        "410105",
        identity_pb2.DOCUMENT_TYPE_RESIDENT_ID_CARD,
    )
    assert (second.request.region, second.request.purpose) == ("310104", purpose_pb2.PURPOSE_CITY_TRANSPORT)
    assert second.request.use_time.seconds == 1_660_181_400
    assert bad.fault


def test_gate_keeps_its_own_marks() -> None:
    """A plain VerifyRequest is marked by its line, a StreamVerifyRequest by itself; a broken line by its fault."""
    question = {"document": {"type": "DOCUMENT_TYPE_RESIDENT_ID_CARD", "number": CARDS[0]}, "region": "310104"}
    plain = read_question(7, json.dumps(question), TEMPLATE)
    assert (plain.mark, plain.request.region, plain.request.purpose) == ("7", "310104", purpose_pb2.PURPOSE_HOTEL)
    marked = read_question(8, json.dumps({"correlation_id": "gate 3", "request": question}), TEMPLATE)
    assert (marked.mark, marked.request.document.number) == ("gate 3", CARDS[0])
    for line in ("{", "[]", '{"region": 5, "nonsense": true}', '{"request": "x"}'):
        broken = read_question(9, line, TEMPLATE)
        assert broken.fault
        assert line not in broken.fault


def test_file_that_names_nobody_is_refused(tmp_path: Path) -> None:
    """An empty one, and one without the column."""
    for text in ("", "name,region\nx,y\n"):
        path = tmp_path / "people.csv"
        path.write_text(text)
        with pytest.raises(NotATable):
            list(read_people(path, TEMPLATE))


def test_lines_of_a_pipe_come_whole(tmp_path: Path) -> None:
    """Also the last one, without its line end."""
    path = tmp_path / "pipe"
    path.write_text("a\nbb\nccc", encoding="utf-8")
    with path.open("rb") as file:
        assert list(read_lines(file.fileno())) == ["a", "bb", "ccc"]
