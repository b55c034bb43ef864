"""The command in Chinese: helps, tables on a terminal, words that are understood, and failures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from hutong.approval.v1.emergency_grant_pb2 import EmergencyGrant, EmergencyGrantState
from hutong.type.v1 import channel_pb2, outcome_pb2, purpose_pb2, refusal_ground_pb2
from hutong_client import errors
from hutong_client.cli import output
from hutong_client.cli.commands.emergency import describe_grant
from hutong_client.cli.failures import describe_error
from hutong_client.cli.help import Command, Group
from hutong_client.cli.main import hutong, run
from hutong_client.cli.words import Word, chinese_words
from hutong_client.formatting import Enum, word
from hutong_client.request_languages import with_language
from hutong_texts import CHINESE, speaking
from hutong_texts.layout import wrap
from rich.cells import cell_len
from rich.console import Console

ENUMS: tuple[tuple[Enum, str], ...] = (
    (purpose_pb2.Purpose, "PURPOSE_"),
    (channel_pb2.Channel, "CHANNEL_"),
    (refusal_ground_pb2.RefusalGround, "REFUSAL_GROUND_"),
    (outcome_pb2.Outcome, "OUTCOME_"),
)
ENGLISH_WORDS = re.compile(r"\b[a-z]{2,} [a-z]{2,}\b")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words by which it is called."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_help_of_every_command_is_chinese_and_fits_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has its help in Chinese, with no line of English, and only words are wider than the terminal."""
    for path, command in commands(hutong):
        assert isinstance(command, Command | Group), path
        assert run([*path, "--help", "--lang", "zh"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("用法: hutong"), printed
        assert not re.search(r"required|OPTIONS|ARGS|WORD|[( ]in ~", printed)
        lines = printed.partition("示例:")[0].splitlines()
        assert [line for line in lines if ENGLISH_WORDS.search(line) and "hutong" not in line] == []
        assert [line for line in lines if cell_len(line) > 80 and " " in line[30:].strip() and "=" not in line] == []


def test_language_of_the_option_goes_before_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--lang, then the environment. A call leaves no language behind."""
    monkeypatch.setenv("LANGUAGE", "zh_CN")
    assert run(["lab", "--help"]) == 0
    assert "登记" in capsys.readouterr().out
    for arguments in (["lab", "--help", "--lang", "en"], ["--lang=en", "lab", "--help"]):
        run(arguments)
        assert "Register and show laboratories" in capsys.readouterr().out
    for locale in ("zh_CN", "zh-CN", "zh_CN.UTF-8"):
        assert run(["lab", "--help", "--lang", locale]) == 0
        assert "登记" in capsys.readouterr().out
    assert run(["--lang", "fr", "lab", "list"]) == 2
    assert "'fr'" in capsys.readouterr().err
    assert run(["lokup"]) == 2
    assert "没有命令 'lokup'" in capsys.readouterr().err


def test_errors_of_arguments_and_of_the_system_are_chinese(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kinds of arguments, which click names in English, and the causes that the system gives."""
    monkeypatch.chdir(tmp_path)
    Path("day.csv").touch()
    for arguments, told in (
        (["profile", "create", "lis", "no.csv", "--lab", "L"], "文件 'no.csv' 不存在"),
        (["policy", "lint", "-f", "no"], "路径 'no' 不存在"),
        (["upload", "day.csv", "--lab", "L", "--work-dir", "no"], "文件夹 'no' 不存在"),
        (["lookup", "--number", "1", "--limit", "x"], "'x' 不是有效的整数"),
        (["verify", "no.csv", "--region", "410105", "--purpose", "hotel"], "no.csv: 没有该文件或目录"),
    ):
        assert run(["--lang", "zh", *arguments]) == 2
        shown = capsys.readouterr().err
        assert told in shown
    assert run(["--lang", "en", "policy", "lint", "-f", "no"]) == 2
    assert "Path 'no' does not exist" in capsys.readouterr().err


def test_wrapper_counts_columns_and_keeps_stops_with_their_words() -> None:
    """A Chinese character takes two columns, and no line begins with a stop."""
    text = "核验一个人（见 docs/decision.md）、文件中的人，或标准输入[必填]中的人,等。" * 4
    for width in range(24, 34):
        lines = wrap(text, width)
        assert max(map(cell_len, lines)) <= width
        assert not any(line[0] in "，。、），]" or line[-1] in "（[" for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_columns_of_a_table_align_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column begins in one column of the screen, whether its cells are Chinese, Latin or both."""
    screen = io.StringIO()
    monkeypatch.setattr(
        output, "Console", lambda **_: Console(file=screen, force_terminal=True, width=120, color_system=None)
    )
    rows = [
        ("labs/91220502MA000LAB8G", "河南省郑州市金水区 410105", "阴性"),
        ("—", "上海", "混检阳性"),
        ("韦示例", "110105", "neg"),
    ]
    output.print_table(("检测机构", "行政区划", "结果判定"), rows)
    printed = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in screen.getvalue().splitlines()]
    assert printed[0].split() == ["检测机构", "行政区划", "结果判定"]
    for column in (1, 2):
        starts = {cell_len(line[: line.index(row[column])]) for line, row in zip(printed[1:], rows, strict=True)}
        heading = printed[0].split()[column]
        assert starts == {cell_len(printed[0][: printed[0].index(heading)])}


@pytest.mark.parametrize(("enum", "prefix"), ENUMS)
def test_every_word_that_is_shown_is_understood(enum: Enum, prefix: str) -> None:
    """Words are understood in both languages, and so is the full name in the contract."""
    kind = Word(enum, prefix)
    for name, number in enum.items():
        if number:
            with speaking(CHINESE):
                shown = word(enum, number, prefix)
            for spelling in (shown, word(enum, number, prefix), word(enum, number, prefix).replace(" ", "-"), name):
                assert kind.convert(spelling, None, None) == number, spelling


@pytest.mark.parametrize(("enum", "prefix"), ENUMS)
def test_no_word_means_two_things(enum: Enum, prefix: str) -> None:
    """A word of people belongs to one value of an enum, so that none is refused for being ambiguous."""
    meant = [word for name, number in enum.items() if number for word in chinese_words(name)]
    assert sorted(meant) == sorted(set(meant))


@pytest.mark.parametrize(
    ("spelling", "number"),
    [("酒店", purpose_pb2.PURPOSE_HOTEL), ("医院", purpose_pb2.PURPOSE_MEDICAL_INSTITUTION), ("高铁", 3)],
)
def test_words_of_people_are_understood(spelling: str, number: int) -> None:
    """People may use other words for a purpose than the word that is shown."""
    assert Word(purpose_pb2.Purpose, "PURPOSE_").convert(spelling, None, None) == number


def test_unknown_word_is_refused_with_the_words_and_not_repeated() -> None:
    """The word may be a misplaced document number."""
    with speaking(CHINESE), pytest.raises(click.BadParameter, match=r"不是已知的词语.*宾馆酒店") as caught:
        Word(purpose_pb2.Purpose, "PURPOSE_").convert("月球", None, None)
    assert "月球" not in caught.value.message


def test_failure_is_shown_in_the_language_of_the_service() -> None:
    """A localized message and localized violations go before the English; what gRPC says is put into words."""
    violation = errors.FieldViolation("region", "REGION_UNKNOWN", "is not a region", "不是行政区划")
    details = errors.Details("REGION_UNKNOWN", field_violations=(violation,), localized_message="region：不是行政区划")
    failed = errors.InvalidArgument("region: is not a region", details)
    assert failed.shown_message == "region：不是行政区划"
    assert describe_error(failed) == "REGION_UNKNOWN: region：不是行政区划"
    with speaking(CHINESE):
        details = replace(details, localized_message="有两处错误")
        failed = errors.InvalidArgument("two faults", details)
        assert describe_error(failed) == "REGION_UNKNOWN: 有两处错误（region：不是行政区划）"
        assert describe_error(errors.Unavailable("failed to connect to all addresses")) == "UNAVAILABLE: 无法连接服务"
    assert "failed to connect" in describe_error(errors.Unavailable("failed to connect to all addresses"))


def test_calls_ask_for_the_language_of_the_process() -> None:
    """In English nothing is added. A language that the caller names is kept."""
    assert with_language(None) is None
    with speaking(CHINESE):
        assert with_language(None) == (("accept-language", "zh-CN"),)
        assert with_language([("a", "b")]) == (("a", "b"), ("accept-language", "zh-CN"))
        assert with_language([("accept-language", "en")]) == [("accept-language", "en")]


def test_open_grant_says_until_when() -> None:
    """The instant is shown in each language. A grant that is not open shows no time."""
    grant = EmergencyGrant(name="emergencyGrants/1", state="EMERGENCY_GRANT_STATE_OPEN", approved_count=2)
    grant.expire_time.FromSeconds(1_660_181_400)
    assert describe_grant(grant) == "emergencyGrants/1: open until 2022-08-11 09:30:00, 2 changes approved"
    with speaking(CHINESE):
        assert describe_grant(grant) == "emergencyGrants/1：有效，有效至 2022-08-11 09:30:00，已批准2项变更"
        grant.state = EmergencyGrantState.EMERGENCY_GRANT_STATE_ENDED
        assert describe_grant(grant) == "emergencyGrants/1：已结束，已批准2项变更"
