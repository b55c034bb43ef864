"""The commands of each client's page, as a newcomer runs them, against a real node."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from clients.examples.node import Node
from tests.support.clients import CLIENTS, TOOLS, require
from tests.support.pages import block
from tests.support.processes import run

FAULTY = {
    "python": ".venv/bin/python examples/gate.py --region 999999",
    "go": "go run ./examples/gate -region 999999",
    "typescript": "npm run --silent gate -- --region 999999",
    "java": "mvn -q exec:java@gate -Dexec.args='--region 999999'",
}
"""The command of a gate with a region that does not exist."""

SHELL = {
    "python": block("clients/python/README.md", "sh", "examples/gate.py"),
    "go": block("clients/go/README.md", "sh"),
    "typescript": block("clients/typescript/README.md", "sh"),
    "java": block("clients/java/README.md", "sh"),
}
"""The commands of each page."""

languages = pytest.mark.parametrize("language", ["python", *TOOLS])


@pytest.fixture(scope="module")
def python_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the Python client, in which the commands of its page make an environment."""
    folder = tmp_path_factory.mktemp("clients") / "python"
    shutil.copytree(CLIENTS / "python", folder, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    return folder


@pytest.fixture
def folder(language: str, python_folder: Path) -> Path:
    """Where the commands of a page run."""
    return python_folder if language == "python" else CLIENTS / language


@pytest.fixture
def tool(language: str) -> None:
    """A client without its tool is skipped with a message, and fails in CI."""
    require(language)


def commands(language: str) -> list[str]:
    """Return the commands of the page's shell block, without their comments."""
    return [re.sub(r"\s+#.*", "", line) for line in SHELL[language].splitlines()]


@languages
@pytest.mark.usefixtures("tool")
def test_commands_of_the_page_upload_and_ask(language: str, folder: Path, node: Node) -> None:
    """The bad tube is named with its reason, and all others are stored. The gate gets a typed answer."""
    printed = ""
    for command in commands(language):
        done = run(["sh", "-c", command], cwd=folder, env=node.environment, timeout=300)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "accepted 9, rejected 1" in printed
    assert "tube 9" in printed
    assert "TIMES_OUT_OF_ORDER" in printed
    assert "NO_POLICY_IN_FORCE" in printed


@languages
@pytest.mark.usefixtures("tool")
def test_faulty_field_is_named(language: str, folder: Path, node: Node) -> None:
    """The typed error has its path and the reason."""
    done = run(["sh", "-c", FAULTY[language]], cwd=folder, env=node.environment, timeout=300)
    assert done.returncode == 1
    assert "region: " in done.stdout
    assert "REGION_UNKNOWN" in done.stderr


def test_lines_of_the_typescript_page_are_the_gates() -> None:
    """The page shows what `npm run gate` runs, without the options of its example."""
    example = (
        (CLIENTS / "typescript/examples/gate.ts").read_text("utf-8").replace("values.verification", '"localhost:50053"')
    )
    shown = block("clients/typescript/README.md", "ts").splitlines()
    assert [line for line in shown if line not in [each.strip() for each in example.splitlines()]] == []
