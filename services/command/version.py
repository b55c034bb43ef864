"""The version of the installed services and the commit that they were built from."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

UNKNOWN = "unknown"
GIT_SECONDS = 5.0
"""How long git may take, in seconds. It reads only two small files."""
COMMIT_FILE = "extra_metadata/commit"
"""The file in which the build of the wheel stores the commit (hatch_build.py)."""


def version_text() -> str:
    """Return the version and the commit in one line."""
    version, commit = find_version()
    return f"hutongd {version} (commit {commit})"


def find_version() -> tuple[str, str]:
    """Return version and commit. In a checkout git is asked for the commit.

    A package has the commit in its metadata.
    """
    try:
        package = distribution("hutong")
    except PackageNotFoundError:
        package = None
    root = Path(__file__).parents[2]
    commit = _commit_of_checkout(root) if (root / ".git").exists() else _commit_of_package(package)
    return package.version if package else UNKNOWN, commit or UNKNOWN


def _commit_of_package(package: Distribution | None) -> str:
    if package is None:
        return ""
    if built := package.read_text(COMMIT_FILE):
        return built.strip()
    # If an installer has installed a package from a repository, this file has the commit (PEP 610).
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    return str(origin.get("vcs_info", {}).get("commit_id", ""))


def _commit_of_checkout(root: Path) -> str:
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)  # noqa: S603 - no input
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()
