"""The adapters of all languages: how each is built and started. Python has one for each of its two APIs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.clients import CLIENTS
from tests.support.processes import run

ROOT = Path(__file__).parents[3]
_BUILD_SECONDS = 300.0
"""The longest build: the first one of the Java client, which fetches its packages."""


@dataclass(frozen=True, slots=True)
class Language:
    """An adapter.

    Attributes:
        folder: where the commands run.
        build: the command that builds the adapter, of the directory for what is built; None if nothing is built.
        command: the command that runs the adapter, of the same directory.
    """

    folder: Path
    build: Callable[[Path], Sequence[str]] | None
    command: Callable[[Path], Sequence[str]]

    def prepare(self, directory: Path) -> Sequence[str]:
        """Build the adapter. Return the command that runs it."""
        if self.build:
            done = run(self.build(directory), cwd=self.folder, env=dict(os.environ), timeout=_BUILD_SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr
        return self.command(directory)


LANGUAGES = {
    "python": Language(ROOT, None, lambda _: [sys.executable, "-m", "tests.conformance.adapter"]),
    "asyncio": Language(ROOT, None, lambda _: [sys.executable, "-m", "tests.conformance.asyncio_adapter"]),
    "go": Language(
        CLIENTS / "go",
        lambda directory: ["go", "build", "-o", str(directory / "adapter"), "./conformance"],
        lambda directory: [str(directory / "adapter")],
    ),
    "typescript": Language(
        CLIENTS / "typescript",
        lambda _: ["npm", "run", "--silent", "build"],
        lambda _: ["node", "dist/test/conformance.js"],
    ),
    # Maven writes to its standard output. So it only compiles and prints the classpath, by which java runs the adapter.
    "java": Language(
        CLIENTS / "java",
        lambda directory: [
            *("mvn", "-B", "-q", "-ntp", "test-compile", "exec:exec", "-Dexec.executable=echo"),
            *("-Dexec.args=%classpath", "-Dexec.classpathScope=test", f"-Dexec.outputFile={directory / 'classpath'}"),
        ],
        lambda directory: [
            *("java", "-cp", (directory / "classpath").read_text("utf-8").strip()),
            "org.hutong.client.conformance.Adapter",
        ],
    ),
}
