"""Ask for known vulnerabilities of the locked packages, if the data on vulnerabilities can be reached.

    python deploy/supply/vulnerabilities.py

Fails if a package has a known vulnerability. Without a connection to the data it says so in one line and succeeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
"""How many seconds pip-audit may take. It asks about each package separately."""
UNREACHABLE = "The data on vulnerabilities cannot be reached from here: no package was checked."


def summarize(answer: str) -> tuple[list[str], bool]:
    """Return the lines to print for pip-audit's JSON, and whether a package has a known vulnerability."""
    try:
        found: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [UNREACHABLE], False
    checked = [package for package in found if "vulns" in package]
    if not checked:
        return [UNREACHABLE], False
    lines = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for package in checked
        for fault in package["vulns"]
    ]
    if len(checked) < len(found):
        lines.append(f"{len(found) - len(checked)} of {len(found)} packages could not be checked.")
    return lines, any(package["vulns"] for package in checked)


def main() -> int:
    """Run pip-audit on requirements.lock. Returns 1 if a package has a known vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "requirements.lock"), "--no-deps"]
    options = ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    try:
        asked = subprocess.run([*command, *options], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
        lines, is_vulnerable = summarize(asked.stdout)
    except subprocess.TimeoutExpired:
        lines, is_vulnerable = [UNREACHABLE], False
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(is_vulnerable)


if __name__ == "__main__":
    sys.exit(main())
