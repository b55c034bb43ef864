"""Tests of what every command has: JSON, an example, completion, contexts, and files of any kind and name."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

import click
import pytest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.failures import say_failure
from hutong_client.cli.kept.store import VARIABLE
from hutong_client.cli.main import hutong, run
from hutong_client.cli.options import Node, NodeCommand
from hutong_client.cli.uploads.journal import journal_path, lock_path
from hutong_client.cli.uploads.progress import count_rows
from hutong_client.cli.uploads.source import copy_stream
from hutong_client.cli.watched.run import LOCK
from hutong_client.tables.formats.old_marks import OLE
from hutong_client.tables.rows import NotATable
from openpyxl import Workbook

from tests.support.client.fake_uploads import FakeUploads, serving
from tests.support.client.fake_verification import serving_verification
from tests.support.client.laboratory_files import CARDS, HEADER, as_csv, line, write_csv, write_workbook
from tests.support.processes import run as run_command

LAB = "91220502MA000LAB8G"
PRINTS_JSON_ALONE = {"policy schema"}
"""A command that prints a JSON document and nothing else."""


def commands(command: click.Command = hutong, path: Sequence[str] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command without subcommands, with its words."""
    if isinstance(command, click.Group):
        for name, part in command.commands.items():
            yield from commands(part, (*path, name))
    else:
        yield " ".join(path), command


@pytest.mark.parametrize(("words", "command"), [*commands()], ids=[words for words, _ in commands()])
def test_every_command_has_json_and_an_example(words: str, command: click.Command) -> None:
    """Scripts read every answer, and every help shows a call."""
    if words not in PRINTS_JSON_ALONE:
        assert "as_json" in {param.name for param in command.params}
    assert getattr(command, "example", "") or "Example" in (command.epilog or "")


def test_version_and_completion_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The line for bash makes a script."""
    assert run(["--version"]) == ExitCode.DONE
    assert re.fullmatch(r"hutong \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
    assert run(["--help"]) == ExitCode.DONE
    assert "_HUTONG_COMPLETE=bash_source hutong" in capsys.readouterr().out
    monkeypatch.setenv("_HUTONG_COMPLETE", "bash_source")
    with pytest.raises(SystemExit):
        run([])
    assert "complete -o nosort -F _hutong_completion hutong" in capsys.readouterr().out


def test_shells_complete_files_and_kept_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of profiles and contexts, and the paths of files."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert run(["context", "set", "jilin", "--results", "127.0.0.1:1"]) == ExitCode.DONE
    monkeypatch.setenv("_HUTONG_COMPLETE", "bash_complete")
    for words, expected in (("--context j", "plain,jilin"), ("upload da", "file,da"), ("verify da", "file,da")):
        monkeypatch.setenv("COMP_WORDS", f"hutong {words}")
        monkeypatch.setenv("COMP_CWORD", "2")
        capsys.readouterr()
        with pytest.raises(SystemExit):
            hutong.main([], prog_name="hutong")
        assert capsys.readouterr().out.strip() == expected


def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR counts on a terminal too."""
    monkeypatch.setenv("NO_COLOR", "1")
    seen: list[bool | None] = []
    probe = click.Command("probe", callback=lambda: seen.append(click.get_current_context().color))
    hutong.add_command(probe)
    try:
        run(["probe"])
    finally:
        hutong.commands.pop("probe")
    assert seen == [False]


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings of the test's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "settings"))
    return tmp_path / "settings"


@pytest.fixture
def fake() -> FakeUploads:
    return FakeUploads()


@pytest.fixture
def address(fake: FakeUploads) -> Iterator[str]:
    with serving(fake) as address:
        yield address


def test_contexts_name_nodes(
    tmp_path: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context is chosen by an option or the environment. An address that is given has precedence."""
    assert run(["context", "set", "jilin", "--results", address, "--json"]) == ExitCode.DONE
    assert run(["context", "set", "nowhere", "--results", "127.0.0.1:1"]) == ExitCode.DONE
    assert run(["context", "set", "empty"]) == ExitCode.USAGE
    capsys.readouterr()
    assert run(["context", "list", "--json"]) == ExitCode.DONE
    listed = json.loads(capsys.readouterr().out)["contexts"]
    assert listed == [{"name": "jilin", "results": address}, {"name": "nowhere", "results": "127.0.0.1:1"}]
    monkeypatch.setenv("HUTONG_CONTEXT", "nowhere")
    for number, options in enumerate((["--context", "jilin"], ["--results", address])):
        day = write_csv(tmp_path / f"day{number}.csv", [line(number)])
        assert run(["upload", str(day), "--lab", LAB, *options]) == ExitCode.DONE
        assert run(["--context", "jilin", "upload", str(day), "--lab", LAB]) == ExitCode.DONE
    assert run(["upload", str(day), "--lab", LAB]) == ExitCode.NO_CONNECTION
    assert run(["context", "remove", "nowhere", "--yes"]) == ExitCode.DONE
    assert run(["upload", str(day), "--lab", LAB]) == ExitCode.USAGE


def test_standard_input_is_uploaded(
    tmp_path: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal and the rejected rows are kept in the working directory."""
    monkeypatch.chdir(tmp_path)
    content = as_csv([line(1), line(2, tube_code="REJECT2")]).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(["upload", "-", "--lab", LAB, "--results", address, "--json"]) == ExitCode.PARTLY
    assert json.loads(capsys.readouterr().out)["rejects_file"] == "stdin.rejects.csv"
    assert {path.name for path in tmp_path.iterdir()} >= {"stdin.rejects.csv", "stdin.hutong-upload.json"}


def test_standard_input_is_read_by_its_path(tmp_path: Path, address: str, fake: FakeUploads) -> None:
    """A real process reads it. Standard input is a pipe, which can be read once."""
    command = [sys.executable, "-m", "hutong_client", "upload", "/dev/stdin", "--lab", LAB, "--results", address]
    done = run_command(command, cwd=tmp_path, given=as_csv([line(number) for number in range(3)]))
    assert (done.returncode, done.stdout) == (0, "accepted 3, duplicates 0, rejected 0\n"), done.stderr
    assert len(fake.tubes) == 3


def test_people_are_read_from_a_fifo(tmp_path: Path) -> None:
    """`hutong verify <(…)`, as shells write it."""
    os.mkfifo(tmp_path / "people")
    content = f"card_no\n{CARDS[0]}\n"
    threading.Thread(target=(tmp_path / "people").write_text, args=(content,), daemon=True).start()
    with serving_verification() as address:
        place = ["--region", "410105", "--purpose", "hotel", "--verification", address]
        assert run(["verify", str(tmp_path / "people"), *place]) == ExitCode.UNDETERMINED


def test_names_of_files_have_any_bytes(
    tmp_path: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is no text, or would colour the terminal, is printed with escapes. The journal keeps it."""
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"day \xff\xe9\n\x1b[31m\xc2\x9b.csv")
    write_csv(tmp_path / name, [line(1), line(2, tube_code="REJECT2")])
    base = ["upload", "--lab", LAB, "--results", address]
    for options in ([name], [name, "--resume"], [".", "--watch", "--once", "--settle", "0"], [".", "--json"]):
        assert run([*base, *options]) == ExitCode.PARTLY
        printed = capsys.readouterr()
        assert "\\n\\u001b[31m\\u009b.csv" in printed.out.replace("\\u000a", "\\n")
        assert not {"\x1b", "\x9b"} & {*printed.out, *printed.err}
    assert json.loads(printed.out)["file"] == name


def test_the_name_of_a_file_in_an_error_adds_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_failure(OSError(errno.EACCES, "Permission denied", "day.csv\nhutong: done"))
    assert capsys.readouterr().err == "hutong: day.csv\\u000ahutong: done: Permission denied\n"


def test_folder_that_cannot_be_written(
    tmp_path: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the option, and with the option the file is uploaded."""
    day = write_csv(tmp_path / "day.csv", [line(1), line(2, tube_code="REJECT2")])
    # A link into a file system that nobody can write stands for a folder that cannot be written.
    lock_path(day).symlink_to("/sys/hutong-cannot-be-made")
    upload = ["upload", str(day), "--lab", LAB, "--results", address]
    assert run(upload) == ExitCode.USAGE
    assert "--work-dir" in capsys.readouterr().err
    work = tmp_path / "work"
    work.mkdir()
    assert run([*upload, "--work-dir", str(work)]) == ExitCode.PARTLY
    assert {path.name for path in work.iterdir()} == {"day.csv.rejects.csv", "day.csv.hutong-upload.json"}
    assert run([*upload, "--work-dir", str(work), "--resume"]) == ExitCode.PARTLY
    assert not journal_path(day).exists()
    (tmp_path / LOCK).symlink_to("/sys/hutong-cannot-be-made")
    for command in (
        [*upload, "--validate-only", "--rejects", "/sys/hutong-cannot-be-made.csv"],
        ["upload", str(tmp_path), *upload[2:], "--watch", "--once"],
    ):
        capsys.readouterr()
        assert run(command) == ExitCode.USAGE
        assert "--work-dir" in capsys.readouterr().err


def test_a_pipe_without_an_end_is_refused(tmp_path: Path) -> None:
    """A pipe without an end would fill the disk."""
    target = io.BytesIO()
    with pytest.raises(NotATable, match="more than 1 GiB came from the pipe"):
        copy_stream(io.BytesIO(bytes(1 << 10)), target, most_bytes=(1 << 10) - 1)
    copy_stream(io.BytesIO(bytes(1 << 10)), target, most_bytes=1 << 10)
    assert len(target.getvalue()) == 1 << 10


def test_rows_are_counted_for_the_time_left(tmp_path: Path) -> None:
    """Lines of text; the stated sizes of the sheets of a workbook; nothing for a workbook that states none."""
    rows = [HEADER, *([*line(number).values()] for number in range(4))]
    assert count_rows(write_csv(tmp_path / "day.csv", [line(number) for number in range(4)])) == 5
    assert count_rows(write_workbook(tmp_path / "day.xlsx", rows)) == 5
    book = Workbook(write_only=True)
    book.create_sheet().append(["a"])
    book.save(tmp_path / "streamed.xlsx")
    assert count_rows(tmp_path / "streamed.xlsx") is None
    (tmp_path / "damaged.xlsx").write_bytes(b"PK\x03\x04")
    assert count_rows(tmp_path / "damaged.xlsx") is None
    whole = write_workbook(tmp_path / "torn.xlsx", rows)
    with ZipFile(whole) as archive:
        header = archive.getinfo("xl/worksheets/sheet1.xml").header_offset
    content = bytearray(whole.read_bytes())
    content[header + 60 : header + 90] = b"\xff" * 30
    whole.write_bytes(content)
    assert count_rows(whole) is None
    (tmp_path / "day.xls").write_bytes(OLE + b"\n" * 9)
    assert count_rows(tmp_path / "day.xls") is None


def test_node_options_are_the_same_on_every_command() -> None:
    """Options may come before the command and after it."""
    own = {option for param in hutong.params for option in param.opts} - {"--version", "--help"}
    for words, command in commands():
        if isinstance(command, NodeCommand):
            assert own <= {option for param in command.params for option in param.opts}, words
    assert Node().context == {}
