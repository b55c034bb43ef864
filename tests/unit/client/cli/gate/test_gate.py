"""`hutong verify` at a gate: the verdict at one glance, exceptions only, totals, and a workbook back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.verification_service_pb2 import VerifyItem, VerifyRequest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.gate.answers import Answers, describe_rows
from hutong_client.cli.gate.report import write_report
from hutong_client.cli.gate.verdicts import ORDER, STYLES, action_word, verdict_of
from hutong_client.cli.main import run
from hutong_client.cli.people import Asked
from openpyxl import load_workbook

from tests.support.client.fake_verification import serving_verification
from tests.support.client.laboratory_files import CARDS

LET_IN = decision_pb2.GATE_ACTION_LET_IN
Gate = Callable[..., int]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving_verification(
        {CARDS[1]: Decision(action=decision_pb2.GATE_ACTION_MAY_BE_REFUSED)}, Decision(action=LET_IN)
    ) as address:
        yield address


@pytest.fixture
def gate(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Runs the command over text on its standard input."""

    def ask(text: str | bytes, *options: str) -> int:
        path = tmp_path / "lines"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with path.open(encoding="utf-8") as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            place = ["--region", "410105", "--purpose", "hotel", "--verification", address]
            return run(["verify", "-", *place, *options])

    return ask


def test_every_action_has_a_word_and_colours() -> None:
    """A new one in the contract must not come out as UNKNOWN."""
    known = set(decision_pb2.GateAction.values()) - {0}
    assert set(ORDER) == set(STYLES) == known
    assert len({action_word(action) for action in known}) == len(known)


def test_verdict_begins_with_the_action(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of three kinds, in order. Numbers and whole names are not repeated. The totals are no answer."""
    lines = f'{CARDS[0]}\t赵示例\n{CARDS[1]}\t钱示例\n\n赵示例\n{{"document": {{"number": "{CARDS[2]}"}}}}\n'
    assert gate(lines) == ExitCode.PARTLY
    printed = capsys.readouterr()
    first, second, third, fourth = printed.out.splitlines()
    assert first.startswith("LET IN              1 赵**: ")
    assert second.startswith("MAY BE REFUSED      2 钱**: ")
    assert third.startswith("ASK AGAIN           4: then let in; NOT ASKED: the line is no number")
    assert fourth.startswith("LET IN              5: ")
    assert "4 people: LET IN 2, ASK AGAIN 1, MAY BE REFUSED 1" in printed.err
    assert not any(text in printed.out + printed.err for text in (*CARDS, "示例"))


def test_verdict_in_chinese_begins_with_the_action(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """The four words, in columns of the same width."""
    assert gate(f"{CARDS[0]}\t赵示例\n{CARDS[1]}\t钱示例\n赵示例\n", "--lang", "zh") == ExitCode.PARTLY
    printed = capsys.readouterr()
    first, second, third = printed.out.splitlines()
    assert first.startswith("放行       1 赵**: ")
    assert second.startswith("可拒绝     2 钱**: ")
    assert third.startswith("请重试     3: 随后放行；未查询：")
    assert "共3人：放行 1、请重试 1、可拒绝 1" in printed.err


def test_only_exceptions_are_printed(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """The totals count everybody."""
    assert gate(f"{CARDS[0]}\t赵示例\n{CARDS[1]}\t钱示例\n", "--exceptions-only") == ExitCode.UNDETERMINED
    printed = capsys.readouterr()
    assert [line.split(":")[0].split()[-2] for line in printed.out.splitlines()] == ["2"]
    assert "2 people" in printed.err


def test_lines_of_another_encoding_are_read_or_refused(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged name would be that of no result."""
    line = f"{CARDS[0]}\t赵示例\n".encode("gb18030")
    gate(line)
    assert "--encoding" in capsys.readouterr().out
    gate(line, "--encoding", "gbk")
    assert "赵**" in capsys.readouterr().out
    assert gate(line, "--encoding", "utf-16") == ExitCode.USAGE


def test_action_is_coloured_on_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Red where the place may refuse."""
    asked = Asked(1, "1", VerifyRequest(document=IdentityDocument(number=CARDS[0])))
    item = VerifyItem(decision=Decision(action=decision_pb2.GATE_ACTION_MAY_BE_REFUSED))
    with click.Context(click.Command("verify"), color=True):
        Answers(as_json=False).add(asked, item)
    assert capsys.readouterr().out.startswith("\x1b[31m\x1b[1mMAY BE REFUSED\x1b[0m")
    Answers(as_json=False).add(asked, item)
    assert capsys.readouterr().out.startswith("MAY BE REFUSED")


def test_what_follows_the_action_is_said() -> None:
    """Ask again and then let in; register besides refusing."""
    asked = Asked(1, "1", VerifyRequest())
    again = Decision(action=decision_pb2.GATE_ACTION_ASK_AGAIN, then_action=LET_IN)
    assert verdict_of(asked, VerifyItem(decision=again)).details.startswith("then let in; ")
    refused = Decision(action=decision_pb2.GATE_ACTION_MAY_BE_REFUSED, must_register=True)
    assert verdict_of(asked, VerifyItem(decision=refused)).details.startswith("register; ")


def test_rows_are_described_shortly() -> None:
    """Row numbers are described as ranges."""
    assert describe_rows([3, 5, 6, 7, 9]) == "3, 5 to 7, 9"


def test_file_of_passengers_comes_back_as_a_workbook(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Departures without a zone, a row with a fault, texts that look like formulas, totals. No file is overwritten."""
    people, report = tmp_path / "people.csv", tmp_path / "report.xlsx"
    rows = [f"{CARDS[at % 2]},乘客{at},2022-08-11 09:30,=1+1" for at in range(499)]
    people.write_text("\n".join(["证件号码,姓名,出发时间,座位", *rows, "123,乘客,明天,1A"]) + "\n", encoding="utf-8")
    place = ("--region", "410105", "--purpose", "intercity-transport", "--timezone", "Asia/Shanghai")
    command = ["verify", str(people), *place, "--verification", address, "--report", str(report)]
    assert run([*command, "--exceptions-only"]) == ExitCode.PARTLY
    assert "500 people: LET IN 250, ASK AGAIN 1, MAY BE REFUSED 249" in capsys.readouterr().out
    book = load_workbook(report)
    head, first, second, *_, last = book["people"].iter_rows()
    assert [cell.value for cell in head][-4:] == ["证件号码", "姓名", "出发时间", "座位"]
    assert [cell.value for cell in first[:2]] == ["2", "LET IN"]
    assert [cell.value for cell in first[-4:]] == [CARDS[0], "乘客0", "2022-08-11 09:30", "=1+1"]
    assert {cell.data_type for cell in first if cell.value} == {"s"}
    assert second[1].fill.fgColor.rgb.endswith("FFC7CE")
    assert last[1].value == "ASK AGAIN"
    assert [[cell.value for cell in row] for row in book["totals"].iter_rows()] == [
        ["LET IN", 250],
        ["ASK AGAIN", 1],
        ["MAY BE REFUSED", 249],
    ]
    assert report.stat().st_mode & 0o077 == 0
    assert run(command) == ExitCode.USAGE
    assert str(report) in capsys.readouterr().err


def test_report_needs_a_file_of_people(gate: Gate, tmp_path: Path) -> None:
    """From a pipe, no rows could be given back. The report is a workbook, whatever its name is."""
    assert gate("", "--report", "report.xlsx") == ExitCode.USAGE
    people = tmp_path / "people.csv"
    people.write_text(f"card_no\n{CARDS[0]}\n", encoding="utf-8")
    assert run(["verify", str(people), "--report", str(tmp_path / "report.csv")]) == ExitCode.USAGE
    assert not (tmp_path / "report.csv").exists()


def test_report_of_an_interrupted_command_says_so(tmp_path: Path) -> None:
    """Nobody takes it for the whole day."""
    with pytest.raises(KeyboardInterrupt), write_report(tmp_path / "report.xlsx", ["card_no"]):
        raise KeyboardInterrupt
    *_, last = load_workbook(tmp_path / "report.xlsx")["people"].iter_rows(values_only=True)
    assert str(last[0]).startswith("The answers end here")
