"""The clients of docs/tls.md in other languages than Python, as a reader runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import CLIENTS, require
from tests.support.pages import block
from tests.support.processes import run
from tests.support.secured import LAB_NAME, secured_results


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificates are, and where the programs run."""
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def address(directory: Path) -> Iterator[str]:
    """The address of a Results service with one laboratory, which serves with certificates."""
    with secured_results(directory) as address:
        yield address


def succeed(cwd: Path, *command: str) -> str:
    """Run a command, and return what it prints."""
    done = run(command, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def go(directory: Path, program: str) -> str:
    """Build the program with the module of the client, whose folder Go has to run in."""
    (directory / "labs.go").write_text(program)
    succeed(CLIENTS / "go", "go", "build", "-o", str(directory / "labs"), str(directory / "labs.go"))
    return succeed(directory, str(directory / "labs"))


def java(directory: Path, program: str) -> str:
    """Run the program with the class path of the client, which Maven makes."""
    (directory / "Labs.java").write_text(program)
    path = succeed(
        CLIENTS / "java",
        *("mvn", "-q", "test-compile", "exec:exec", "-Dexec.executable=echo", "-Dexec.args=%classpath"),
    )
    return succeed(directory, "java", "-cp", path.strip(), "Labs.java")


def typescript(directory: Path, program: str) -> str:
    """Compile the program beside the packages of the client, to which the client itself is added."""
    client, packages = CLIENTS / "typescript", directory / "node_modules"
    succeed(client, "npm", "run", "--silent", "build")
    packages.mkdir()
    for package in (client / "node_modules").iterdir():
        (packages / package.name).symlink_to(package)
    (packages / "hutong-client").symlink_to(client)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "labs.ts").write_text(program)
    options = ("--module", "nodenext", "--target", "es2022", "--strict", "--types", "node", "labs.ts")
    succeed(directory, str(client / "node_modules/.bin/tsc"), *options)
    return succeed(directory, shutil.which("node") or "node", "labs.js")


PROGRAMS: dict[str, tuple[Callable[[Path, str], str], str]] = {
    "go": (go, block("docs/tls.md", "go")),
    "java": (java, block("docs/tls.md", "java")),
    "typescript": (typescript, block("docs/tls.md", "typescript")),
}


@pytest.mark.parametrize("language", PROGRAMS)
def test_laboratories_are_listed(language: str, directory: Path, request: pytest.FixtureRequest) -> None:
    """The laboratory's certificate is enough."""
    require(language)
    lists, program = PROGRAMS[language]
    address: str = request.getfixturevalue("address")
    assert LAB_NAME in lists(directory, program.replace("localhost:50051", address))
