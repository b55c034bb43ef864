"""Check the licences of the locked packages, and list those of the packages that a node runs.

    python deploy/supply/packages.py licences          # fails for a licence that licences.toml does not allow
    python deploy/supply/packages.py notices           # the licence texts, for `make notices`
    python deploy/supply/packages.py requirements      # the pins with their hashes, for `make sbom` and the image
    python deploy/supply/packages.py build             # the pins and hashes of what builds the wheels of the image

Licences come from the metadata of the installed packages, so the environment must be that of requirements.lock. A node
runs hutong, and hutong-client with the command. The notices and requirements leave out what only tests and tools need.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
RULES = ROOT / "deploy/supply/licences.toml"
RUN = (Requirement("hutong"), Requirement("hutong-client[cli]"))
"""The packages of a node and of the command `hutong`."""
BUILD = (Requirement("hatchling"),)
"""What builds the wheels."""
OWN = {canonicalize_name(requirement.name) for requirement in RUN}

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==[^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)
_OPERATORS = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")
_LICENCE_FILE = re.compile(r"(?i)(?:licen[cs]e|copying|notice|authors)")


class Rules(NamedTuple):
    """The licences that are allowed, and the licences of packages whose metadata states no licence."""

    allowed: frozenset[str]
    read: Mapping[str, str]


def load_rules(path: Path = RULES) -> Rules:
    """Return the rules of licences.toml."""
    rules = tomllib.loads(path.read_text(encoding="utf-8"))
    return Rules(frozenset(rules["allowed"]), rules["read"])


def pins(lock: str) -> dict[str, str]:
    """Return the lock's entry of each package: its pin, its hashes and the comments."""
    return {canonicalize_name(match["name"]): match[0] for match in _PIN.finditer(lock)}


def licence_of(package: Distribution, rules: Rules) -> str:
    """Return the SPDX expression of a package's licence.

    If the metadata has no SPDX expression, return what it says instead.
    """
    expressions = package.metadata.get_all("License-Expression")
    if expressions:
        return str(expressions[0])
    stated = str((package.metadata.get_all("License") or [""])[0]).partition("\n")[0] or "no licence stated"
    return rules.read.get(canonicalize_name(package.name), stated)


def find_faults(packages: Mapping[str, Distribution], locked: Mapping[str, str], rules: Rules) -> Iterator[str]:
    """Yield a line for each locked package with a licence that is not allowed."""
    for name in sorted(locked):
        package = packages.get(name)
        # A pin for another system or another version of Python is not installed here.
        if package is None:
            continue
        licence = licence_of(package, rules)
        unknown = [part for part in _OPERATORS.split(licence) if part.strip() and part.strip() not in rules.allowed]
        if unknown:
            yield f"{name} {package.version}: {licence} is not allowed by {RULES.relative_to(ROOT)}"


def find_run(packages: Mapping[str, Distribution], roots: Sequence[Requirement] = RUN) -> list[str]:
    """Return the sorted names of the packages that `roots` need, by default a node's, without Hutong's own packages."""
    found: set[tuple[str, str]] = set()
    rest = [(requirement, extra) for requirement in roots for extra in ("", *requirement.extras)]
    while rest:
        requirement, extra = rest.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in found or name not in packages:
            continue
        found.add((name, extra))
        for needed in map(Requirement, _own_requirements(name) if name in OWN else packages[name].requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                rest += [(needed, each) for each in ("", *needed.extras)]
    return sorted({name for name, _ in found} - OWN)


def _own_requirements(name: str) -> list[str]:
    """Return what one of Hutong's own packages needs, according to its pyproject.toml.

    The installed metadata may be older.
    """
    folder = ROOT if name == "hutong" else ROOT / "clients/python"
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(f'{one} ; extra == "{extra}"' for extra in extras for one in extras[extra])]


def notice(package: Distribution, rules: Rules) -> str:
    """Return the notice of a package: name, version, licence, and the licence files that it brings."""
    files = [file for file in package.files or () if ".dist-info" in str(file) and _LICENCE_FILE.search(file.name)]
    texts = [Path(str(file.locate())).read_text(encoding="utf-8", errors="replace").strip() for file in sorted(files)]
    title = f"{package.name} {package.version}: {licence_of(package, rules)}"
    return "\n\n".join((f"{title}\n{'=' * len(title)}", *texts))


def main(arguments: list[str]) -> int:
    """Do what the single argument says. Return 1 if a licence is not allowed."""
    rules, locked = load_rules(), pins(LOCK.read_text(encoding="utf-8"))
    packages: dict[str, Distribution] = {canonicalize_name(package.name): package for package in distributions()}
    match arguments:
        case ["licences"]:
            faults = list(find_faults(packages, locked, rules))
            sys.stderr.write("".join(f"{fault}\n" for fault in faults))
            return bool(faults)
        case ["notices"]:
            sys.stdout.write("\n\n\n".join(notice(packages[name], rules) for name in find_run(packages)) + "\n")
        case ["requirements"]:
            sys.stdout.write("".join(locked[name] for name in find_run(packages)))
        case ["build"]:
            sys.stdout.write("".join(locked[name] for name in find_run(packages, BUILD)))
        case _:
            sys.stderr.write("usage: packages.py licences | notices | requirements | build\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
