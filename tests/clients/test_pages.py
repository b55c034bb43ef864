"""The commands of each client's page, as a newcomer runs them, against a real node."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from clients.examples.node import Node
from tests.support.processes import run

CLIENTS = Path(__file__).parents[2] / "clients"
TOOLS = {"go": "go", "typescript": "npm", "java": "mvn"}
FAULTY = {
    "go": "go run ./examples/gate -region 999999",
    "typescript": "npm run --silent gate -- --region 999999",
    "java": "mvn -q exec:java@gate -Dexec.args='--region 999999'",
}
"""The command of a gate with a region that does not exist."""

languages = pytest.mark.parametrize("language", TOOLS)


@pytest.fixture(autouse=True)
def tool_is_installed(language: str) -> None:
    """A client without its tool is skipped with a message, and fails in CI."""
    if not shutil.which(TOOLS[language]):
        message = f"{TOOLS[language]} is not installed: clients/{language} is not tested"
        assert not os.environ.get("CI"), message
        pytest.skip(message)


def commands(language: str) -> list[str]:
    """Return the commands of the page's shell block, without their comments."""
    block = (CLIENTS / language / "README.md").read_text("utf-8").partition("```sh\n")[2].partition("```")[0]
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


@languages
def test_commands_of_the_page_upload_and_ask(language: str, node: Node) -> None:
    """The bad tube is named with its reason, and all others are stored. The gate gets a typed answer."""
    printed = ""
    for command in commands(language):
        done = run(["sh", "-c", command], cwd=CLIENTS / language, env=node.environment, timeout=300)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "accepted 9, rejected 1" in printed
    assert "tube 9" in printed
    assert "TIMES_OUT_OF_ORDER" in printed
    assert "NO_POLICY_IN_FORCE" in printed


@languages
def test_faulty_field_is_named(language: str, node: Node) -> None:
    """The typed error has its path and the reason."""
    done = run(["sh", "-c", FAULTY[language]], cwd=CLIENTS / language, env=node.environment, timeout=300)
    assert done.returncode == 1
    assert "region: " in done.stdout
    assert "REGION_UNKNOWN" in done.stderr
