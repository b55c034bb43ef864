"""The clients of docs/tls.md that need no other language, as a reader runs them. tests/clients runs the others."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pages import ROOT, block
from tests.support.processes import run
from tests.support.secured import LAB_NAME, secured_results


@dataclass(frozen=True, slots=True)
class Secured:
    """The directory with the certificates, and the address that shows them."""

    directory: Path
    address: str

    def runs(self, *command: str) -> str:
        """Run a command of the page, against this address in place of the page's, and return what it prints."""
        words = [word.replace("localhost:50051", self.address) for word in command]
        done = run(words, cwd=self.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A Results with one laboratory, below a directory that looks like the repository's."""
    directory = tmp_path_factory.mktemp("secured")
    (directory / "clients").symlink_to(ROOT / "clients")
    with secured_results(directory) as address:
        yield Secured(directory, address)


def test_python_lists_laboratories(secured: Secured) -> None:
    """The laboratory's certificate is enough."""
    assert LAB_NAME in secured.runs(sys.executable, "-c", block("docs/tls.md", "python"))


@pytest.mark.skipif(
    shutil.which("grpcurl") is None, reason="grpcurl is not here; make .tools/grpcurl builds it with Go"
)
def test_grpcurl_lists_laboratories(secured: Secured) -> None:
    """The command uses the descriptor set, without reflection."""
    assert LAB_NAME in secured.runs("sh", "-ec", block("docs/tls.md", "sh"))
