"""The services of another version, from a commit of the repository, as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

from tests.support.processes import run, start
from tests.support.waiting import TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]


class Version:
    """A tree of the repository whose services run in this environment. It does not know the variables `unknown`."""

    def __init__(self, tree: Path = ROOT, unknown: Collection[str] = ()) -> None:
        self._tree = tree
        self._unknown = unknown

    @classmethod
    def of_commit(cls, commit: str, folder: Path, unknown: Collection[str] = ()) -> Version | None:
        """Take the tree of a commit by `git archive`. Return None if the clone does not have the commit."""
        packed = folder / "tree.tar"
        if run(["git", "archive", f"--output={packed}", commit], cwd=ROOT).returncode != 0:
            return None
        with tarfile.open(packed) as tree:
            tree.extractall(folder / "tree", filter="data")
        return cls(folder / "tree", unknown)

    def migrate(self, environment: Mapping[str, str]) -> None:
        """Migrate all databases to this version's schema."""
        done = run([*self._command, "migrate"], env=self._own(environment), cwd=self._tree, timeout=TIMEOUT_SECONDS)
        assert done.returncode == 0, done.stderr

    def serve(self, service: str, environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[Any]:
        """Start a service. The caller ends it with `tests.support.processes.end`."""
        command = [*self._command, "serve", service]
        return start(command, env=self._own(environment), cwd=self._tree, stdin=subprocess.DEVNULL, stderr=log)

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "services"]

    def _own(self, environment: Mapping[str, str]) -> dict[str, str]:
        paths = [str(self._tree), str(self._tree / "clients/python")]
        known = {name: value for name, value in environment.items() if name not in self._unknown}
        return {**known, "PYTHONPATH": os.pathsep.join(paths)}
