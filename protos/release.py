"""Cut a release: set the version, date the CHANGELOG heading, and keep the contract's descriptor set.

    python protos/release.py 0.2.0 --date 2026-12-01

The commit of these changes is the release. From then on `make breaking` compares the contract with the kept descriptor
set, and fails if a change breaks a client of the release.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml")
UNRELEASED = "## Unreleased"


def release(root: Path, version: str, day: date) -> None:
    """Change the files of a checkout.

    Raises:
        ValueError: the version or a file does not allow a release; no file was changed.
    """
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version):
        raise ValueError(f"{version} is not a version: three numbers with dots between them")
    changelog = root / "CHANGELOG.md"
    notes = changelog.read_text()
    if notes.count(UNRELEASED) != 1:
        raise ValueError(f'CHANGELOG.md must have one heading "{UNRELEASED}"')
    projects = {root / name: (root / name).read_text() for name in PROJECTS}
    for path, text in projects.items():
        if len(re.findall(r'^version = ".*"$', text, re.MULTILINE)) != 1:
            raise ValueError(f"{path.name} must state one version")
    for path, text in projects.items():
        path.write_text(re.sub(r'^version = ".*"$', f'version = "{version}"', text, count=1, flags=re.MULTILINE))
    changelog.write_text(notes.replace(UNRELEASED, f"{UNRELEASED}\n\n## {version} ({day.isoformat()})"))
    released = root / "protos" / "released"
    released.mkdir(exist_ok=True)
    contract = (root / "clients" / "hutong.binpb").read_bytes()
    (released / "hutong.binpb").write_bytes(contract)
    (released / "SHA256").write_text(f"{hashlib.sha256(contract).hexdigest()}  hutong.binpb\n")


def main() -> None:
    """Read the options and release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("version")
    parser.add_argument(
        "--date", type=date.fromisoformat, required=True, help="the day of the release, such as 2026-12-01"
    )
    options = parser.parse_args()
    try:
        release(ROOT, options.version, options.date)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
