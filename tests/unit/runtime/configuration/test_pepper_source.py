"""The pepper comes from exactly one of a file, a descriptor and a command; a fault is one line without the secret."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from services.runtime.configuration.pepper_source import PepperSource, read_pepper
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from tests.support.waiting import wait_until

SECRET = b"a secret of more than 32 bytes\n\0\xff!"


def settings(**variables: str) -> Settings:
    return Settings.from_environment({f"HUTONG_PEPPER_{name.upper()}": value for name, value in variables.items()})


def python(code: str) -> str:
    """Return a command that runs code."""
    return shlex.join([sys.executable, "-I", "-S", "-c", code])


def pipe(content: bytes) -> int:
    """Return the reading end of a pipe with this content."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return reading


def test_a_command_prints_the_pepper_and_runs_once(tmp_path: Path) -> None:
    """Without a shell: neither a variable nor a redirection means anything in it."""
    runs = tmp_path / "runs"
    code = f"import sys; open({str(runs)!r}, 'a').write(sys.argv[1]); sys.stdout.buffer.write({SECRET!r})"
    command = f"{python(code)} '$HOME>x'"
    assert [settings(command=command).pepper().secret for _ in range(2)] == [SECRET] * 2
    assert runs.read_text() == "$HOME>x"


def test_a_descriptor_is_read_once_and_closed() -> None:
    """A pipe gives its content only once, and children of the process must not inherit it."""
    # A number that no other test is given, because the process keeps what it has read.
    descriptor = os.dup2(pipe(SECRET), 911)
    assert [settings(descriptor=str(descriptor)).pepper().secret for _ in range(2)] == [SECRET] * 2
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("/nowhere/vault read", "cannot be run: No such file or directory"),
        ("vault 'read", "cannot be run: close its quotes"),
        (python("print('t0psecret' * 9); raise SystemExit(3)"), "failed with exit code 3"),
        (python("import sys; sys.exit('t0psecret')"), "failed with exit code 1"),
        (python("print('t0psecret')"), "gives less than 32 bytes"),
        (python("while True: print('t0psecret' * 999)"), "gives more than 4096 bytes"),
    ],
)
def test_a_command_that_fails_is_one_line_without_its_output(
    command: str, cause: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The output may be the secret. It is neither in the error nor in the output of this process."""
    with pytest.raises(BadSetting, match=f"HUTONG_PEPPER_COMMAND {cause}") as caught:
        settings(command=command).pepper()
    assert "t0psecret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    """A wrapper script may wait for a program that hangs."""
    held = tmp_path / "held"
    os.mkfifo(held)
    reading = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    command = shlex.join(["sh", "-c", f"sleep 600 > {held} & wait"])
    with pytest.raises(BadSetting, match=r"HUTONG_PEPPER_COMMAND did not end within 0\.5 seconds"):
        read_pepper(PepperSource(None, None, command), tmp_path, 0.5)
    # A read fails with BlockingIOError as long as a process holds the other end.
    wait_until(lambda: _has_ended(reading))
    os.close(reading)


def _has_ended(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


def test_a_descriptor_that_does_not_end_is_refused(tmp_path: Path) -> None:
    """The start would hang without a word otherwise."""
    reading, writing = os.pipe()
    with pytest.raises(BadSetting, match=r"HUTONG_PEPPER_DESCRIPTOR: \d+ did not end within 0\.01 seconds"):
        read_pepper(PepperSource(None, reading, ""), tmp_path, 0.01)
    os.close(writing)
    os.close(reading)


def test_a_descriptor_that_cannot_serve_is_refused() -> None:
    """Refused are a descriptor that is not open, and one with too little or too much content."""
    closed = 1023
    for descriptor, cause in (
        (closed, "cannot be read: Bad file descriptor"),
        (pipe(b"x" * 31), "gives less than 32 bytes"),
        (pipe(b"x" * 4097), "gives more than 4096 bytes"),
    ):
        with pytest.raises(BadSetting, match=f"HUTONG_PEPPER_DESCRIPTOR.* {cause}"):
            settings(descriptor=str(descriptor)).pepper()
    for text in ("1", "2", "-1", "1024", "three", "３"):
        with pytest.raises(BadSetting, match="HUTONG_PEPPER_DESCRIPTOR must be"):
            settings(descriptor=text)


def test_two_sources_are_refused() -> None:
    """Nobody would know which of them counts."""
    for given in ({"file": "p", "command": "c"}, {"file": "p", "descriptor": "0"}, {"descriptor": "3", "command": "c"}):
        with pytest.raises(BadSetting, match="give one of HUTONG_PEPPER_FILE"):
            settings(**given)


def test_a_command_never_shows_its_arguments() -> None:
    """The arguments may contain a token of the key store."""
    node = settings(command="vault read -token=t0psecret pepper")
    assert "t0psecret" not in f"{node!r} {node.redacted()}"
    assert node.redacted()["pepper"] == "command"


def test_a_second_pepper_is_read_with_its_version(tmp_path: Path) -> None:
    """The second pepper is used for look-ups and not for writing. Its version is one below or above the other one."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1" * 32)
    second.write_bytes(b"2" * 32)
    given = {"file": str(first), "other_file": str(second), "other_version": "2"}
    pepper = settings(**given).pepper()
    assert pepper.other is not None
    assert (pepper.version, pepper.other.version, pepper.other.secret) == (1, 2, b"2" * 32)
    pepper = settings(file=str(second), version="2", other_file=str(first), other_version="1").pepper()
    assert [one.version for one in pepper.versions] == [2, 1]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"other_version": "2"}, "HUTONG_PEPPER_OTHER_VERSION goes with"),
        ({"other_file": "first"}, "HUTONG_PEPPER_OTHER_VERSION goes with"),
        ({"other_file": "first", "other_version": "3"}, "one more or one less"),
        ({"other_file": "first", "other_version": "1"}, "one more or one less"),
        ({"other_file": "first", "other_command": "x", "other_version": "2"}, "give one of HUTONG_PEPPER_OTHER_FILE"),
        ({"other_file": "first", "other_version": "2"}, "the same secret"),
        ({"other_file": "nowhere", "other_version": "2"}, "HUTONG_PEPPER_OTHER_FILE cannot be read"),
        ({"other_command": "/nowhere/vault", "other_version": "2"}, "HUTONG_PEPPER_OTHER_COMMAND cannot be run"),
        ({"version": "0"}, "HUTONG_PEPPER_VERSION must be a whole number"),
    ],
)
def test_a_faulty_second_pepper_is_one_line(
    given: dict[str, str], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").write_bytes(b"1" * 32)
    with pytest.raises(BadSetting, match=cause) as caught:
        settings(file="first", **given).pepper()
    assert "\n" not in str(caught.value)
