"""`hutong upload --watch` against a small service: through kills, each content once, with a report of each kind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc import code_pb2
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.lock import hold_lock
from hutong_client.cli.main import run

from tests.support.client.fake_uploads import FakeUploads, failure, serving
from tests.support.client.laboratory_files import line, write_csv
from tests.support.ports import free_address
from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

LAB = "91220502MA000LAB8G"


@pytest.fixture
def fake() -> FakeUploads:
    return FakeUploads()


@pytest.fixture
def address(fake: FakeUploads) -> Iterator[str]:
    with serving(fake) as address:
        yield address


def arguments(folder: Path, address: str, *options: str) -> list[str]:
    where = ["--lab", LAB, "--results", address, "--batch-size", "4"]
    return ["upload", str(folder), "--watch", "--settle", "0", *where, *options]


def test_folder_is_sent_once(
    tmp_path: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line of JSON for each file. The second run sends nothing."""
    write_csv(tmp_path / "a.csv", [line(number) for number in range(8)])
    (tmp_path / "b.csv").write_text("not a table\n", encoding="utf-8")
    assert run(arguments(tmp_path, address, "--once", "--json")) == ExitCode.USAGE
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["exit_code"], good["accepted"], good["sent_as"]) == (0, 8, "")
    assert (bad["file"], bad["exit_code"]) == (str(tmp_path / "b.csv"), ExitCode.USAGE)
    assert bad.keys() == good.keys()
    assert "no known column name" in bad["error"]
    assert good["error"] == ""
    (tmp_path / "b.csv").unlink()
    assert run(arguments(tmp_path, address, "--once")) == ExitCode.DONE
    assert "not sent again" in capsys.readouterr().out
    assert len(fake.tubes) == 8


def test_kill_in_the_middle_goes_on(tmp_path: Path, fake: FakeUploads, capsys: pytest.CaptureFixture[str]) -> None:
    """A process is killed while a batch is under way. The next run sends the rest to the same upload."""
    write_csv(tmp_path / "day.csv", [line(number) for number in range(40)])
    with serving(fake) as address:
        command = [sys.executable, "-m", "hutong_client", *arguments(tmp_path, address)]

        with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watcher:

            def kill(number: int) -> None:
                if number == 6:
                    os.kill(watcher.pid, signal.SIGKILL)

            fake.before_commit = kill
            watcher.wait(TIMEOUT_SECONDS)
        assert 0 < len(fake.tubes) < 40
        assert run(arguments(tmp_path, address, "--once")) == ExitCode.DONE
        assert "accepted 40" in capsys.readouterr().out
        assert sorted(fake.tubes) == [f"T{number:05}" for number in range(40)]


def test_new_file_is_seen_and_ctrl_c_ends_quietly(tmp_path: Path, address: str, fake: FakeUploads) -> None:
    """The system notifies the command of the file, which is written outside the watched folder and moved there."""
    draft = write_csv(tmp_path / "draft.csv", [line(number) for number in range(4)])
    watched = tmp_path / "watched"
    watched.mkdir()
    command = [sys.executable, "-m", "hutong_client", *arguments(watched, address)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
        assert watcher.stderr
        assert "Watching" in watcher.stderr.readline()
        draft.rename(watched / "day.csv")
        wait_until(lambda: len(fake.tubes) == 4)
        assert watcher.stdout
        assert watcher.stdout.readline() == "day.csv:\n"
        assert watcher.stdout.readline().startswith("accepted 4")
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(TIMEOUT_SECONDS) == ExitCode.INTERRUPTED
        assert watcher.stderr.read().strip() == "hutong: stopped"


def test_outcomes_have_their_exit_codes(tmp_path: Path, address: str, fake: FakeUploads) -> None:
    """Rejected rows, a service that refuses, one that is unreachable, another watch, wrong options."""
    write_csv(tmp_path / "day.csv", [line(1, tube_code="REJECT1")])
    fake.before_commit = lambda _: failure(code_pb2.FAILED_PRECONDITION, "LAB_UNKNOWN")
    assert run(arguments(tmp_path, address, "--once")) == ExitCode.FAILED
    fake.before_commit = lambda _: None
    assert run(arguments(tmp_path, free_address(), "--once")) == ExitCode.NO_CONNECTION
    with hold_lock(tmp_path / ".hutong-watch.lock"):
        assert run(arguments(tmp_path, address, "--once")) == ExitCode.RUNNING
    assert run(arguments(tmp_path, address, "--once")) == ExitCode.PARTLY
    assert run(arguments(tmp_path / "day.csv", address, "--once")) == ExitCode.USAGE
    assert run(arguments(tmp_path, address, "--resume")) == ExitCode.USAGE
    assert run(["upload", str(tmp_path), "--lab", LAB, "--once", "--results", address]) == ExitCode.USAGE
