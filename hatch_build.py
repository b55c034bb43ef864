"""Puts the commit into the metadata of the wheel, where `hutongd --version` reads it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """Asks git for the commit. A source tree without git builds a wheel without it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file with the commit to the metadata of a wheel that is not editable."""
        if version == "editable" or not (commit := self._find_commit()):
            return
        file = Path(tempfile.mkdtemp()) / "commit"
        file.write_text(commit, encoding="utf-8")
        build_data["extra_metadata"][str(file)] = "commit"

    def _find_commit(self) -> str:
        """Return the commit that git names; without a clone that of HUTONG_COMMIT, which the build of an image sets."""
        if not (Path(self.root) / ".git").exists():
            return os.environ.get("HUTONG_COMMIT", "")
        command = ["git", "-C", self.root, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - no input
        except (OSError, subprocess.SubprocessError):
            return ""
