"""`hutongd` in Chinese: helps, errors, and what its commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hutong_texts import CHINESE, english, speaking, tr
from hutong_texts.layout import width_of

from services.__main__ import run
from services.command.config import example, show_settings
from services.command.doctor.findings import Finding, Level, report
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting

NAMES = re.compile(r"hutongd [a-z -]+|audit sealed")
"""Names of commands and of a line of the log."""
ENGLISH_WORDS = re.compile(r"\b[a-z]{2,} [a-z]{2,}\b")
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


COMMANDS = [
    [],
    ["serve"],
    ["migrate"],
    ["doctor"],
    ["config"],
    ["config", "check"],
    ["config", "show"],
    ["config", "example"],
    ["audit"],
    ["audit", "verify"],
    ["audit", "export"],
    ["audit", "who-read"],
    ["audit", "record-restore"],
    ["backup"],
    ["restore"],
    ["key"],
    ["key", "status"],
    ["key", "rotate"],
    ["purge"],
]
CHOICES = re.compile(r"^  \{([a-z,-]+)\}$", re.MULTILINE)
"""The line of a help that lists the commands in a group."""


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_every_command_is_chinese(path: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No line is English, texts of argparse included."""
    with pytest.raises(SystemExit) as ended:
        run([*path, "--help", "--lang", "zh"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("用法：hutongd")
    assert [line for line in printed.splitlines() if ENGLISH_WORDS.search(NAMES.sub("", line))] == []
    assert "显示本帮助并退出" in printed
    below = [name for found in CHOICES.findall(printed.partition("选项:")[0]) for name in found.split(",")]
    known = {command[len(path)] for command in COMMANDS if command[: len(path)] == path and len(command) > len(path)}
    assert known == (set(below) if len(path) == 0 or path in (["audit"], ["config"], ["key"]) else set())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctr"], "参数 command：'doctr' 无效"),
        (["purge"], "缺少以下参数：--older-than"),
        (["purge", "--older-than", "x"], "应为天数或小时数"),
        (["purge", "--older-than", "9999999d"], "没有更早的结果"),
        (["audit", "record-restore", "--copy-of", "2022-08-11"], "应为带时区的时间"),
        (["serve", "--nothing"], "无法识别的参数：--nothing"),
        (["--config"], "需要一个值"),
        (["audit", "verify", "--head", "x"], "HEAD 为十六进制"),
    ],
)
def test_wrong_usage_is_told_in_chinese(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Argparse says it by the same catalogue."""
    with pytest.raises(SystemExit) as ended:
        run(["--lang=zh_CN", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_language_comes_from_the_option_and_then_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sources are the same as for `hutong`: --lang, LANGUAGE, LC_ALL, LC_MESSAGES, LANG."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HUTONG_MAX_CALLS", "no")
    for given, words in (
        ({}, "must be a whole number, at least 1"),
        ({"LANG": "zh_CN.UTF-8"}, "必须是整数，至少为 1"),
        ({"LC_ALL": "en_US.UTF-8"}, "must be"),
        ({"LANGUAGE": "zh:en"}, "必须是整数"),
    ):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert run(["config", "check"]) == 2
        assert words in capsys.readouterr().err
    assert run(["config", "check", "--lang", "en"]) == 2
    assert "must be" in capsys.readouterr().err


def test_findings_align_and_keep_their_names_in_json() -> None:
    """The columns of the table begin where a Chinese character takes two columns; JSON has the same names."""
    findings = [
        Finding(english("clock"), Level.WARNING, english("is synchronised")),
        Finding(english("database of {service}", service="results"), Level.OK, english("can be used")),
    ]
    with speaking(CHINESE):
        lines = report(findings, as_json=False).splitlines()
        rows = json.loads(report(findings, as_json=True))["findings"]
    assert [line.split() for line in lines] == [
        ["警告", "时钟", "已同步"],
        ["正常", "results", "的数据库", "可以使用"],
    ]
    assert {width_of(line[: line.index(last)]) for line, last in zip(lines, ("已同步", "可以使用"), strict=True)} == {
        34
    }
    assert [(row["check"], row["level"]) for row in rows] == [("clock", "warning"), ("database of results", "ok")]


def test_settings_are_explained_in_chinese(tmp_path: Path) -> None:
    """The example is still a TOML file, each meaning has Chinese, and the table of settings aligns."""
    with speaking(CHINESE):
        comments = [line for line in example().splitlines() if line.startswith("# ")]
        shown = show_settings({"HUTONG_JURISDICTION": "410000"}, None, as_json=False).splitlines()
    assert [line for line in comments if not re.search("[\u4e00-\u9fff]", line)] == []
    assert any(line.endswith("环境变量") for line in shown)
    assert {line.split()[-1] for line in shown} == {"默认值", "环境变量"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [1,,2]", "不是 TOML（第1行第8列）"),
        ('[results]\naddres = "a"', "未知的设置 results.addres；是否指 results.address？"),
        ("jurisdiction = 410000", "jurisdiction 必须是加引号的文字"),
        ("max_calls = 0", "HUTONG_MAX_CALLS 必须是整数，至少为 1"),
    ],
)
def test_faults_of_settings_have_chinese(tmp_path: Path, text: str, said: str) -> None:
    """The text of an error keeps its template, also inside another text."""
    file = tmp_path / "hutong.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadSetting) as caught:
        Settings.from_environment({}, file)
    with speaking(CHINESE):
        assert said in tr(caught.value.text)


def test_causes_of_the_system_have_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The catalogue also has the operating system's messages about files."""
    assert run(["--config", str(tmp_path / "none.toml"), "--lang", "zh", "config", "check"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hutongd: 无法读取配置文件 {tmp_path}/none.toml：没有该文件或目录；请把文件放到该处")
