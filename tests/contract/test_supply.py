"""The statements about the packages that Hutong consists of: their licences and their known vulnerabilities."""

from __future__ import annotations

import json
import tomllib
from email.message import Message
from importlib.metadata import Distribution, distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.supply.packages import LOCK, find_faults, find_run, load_rules, main, pins
from deploy.supply.vulnerabilities import UNREACHABLE, summarize

ROOT = Path(__file__).parents[2]
OFTEN_RAISED = {"cryptography", "rich", "structlog"}
"""Packages whose major version rises about once a year, mostly without a change that breaks their users."""


class Package(Distribution):
    """A distribution that has only metadata."""

    def __init__(self, name: str, **fields: str) -> None:
        self._metadata = Message()
        for key, value in {"Name": name, "Version": "1.0", **fields}.items():
            self._metadata[key.replace("_", "-")] = value

    @property
    def metadata(self) -> Message:
        """Return the fields in the package's METADATA."""
        return self._metadata

    def read_text(self, filename: str) -> None:
        """Return no file."""

    def locate_file(self, path: object) -> Path:
        """Return the path itself."""
        return Path(str(path))


def test_licences_of_the_locked_packages_are_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    """`make licences` makes the same check."""
    assert main(["licences"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"License_Expression": "MIT"}, ""),
        ({"License_Expression": "MPL-2.0 AND (Apache-2.0 OR MIT)"}, ""),
        ({"License_Expression": "AGPL-3.0-only"}, "AGPL-3.0-only is not allowed"),
        ({"License_Expression": "MIT OR SSPL-1.0"}, "MIT OR SSPL-1.0 is not allowed"),
        ({"License": "Proprietary\nAll rights reserved"}, "Proprietary is not allowed"),
        ({}, "no licence stated is not allowed"),
    ],
)
def test_an_unknown_licence_is_named(fields: dict[str, str], fault: str) -> None:
    """The package stands before it. Every identifier of an expression must be known."""
    faults = list(find_faults({"foreign": Package("foreign", **fields)}, {"foreign": ""}, load_rules()))
    assert [line.startswith(f"foreign 1.0: {fault}") for line in faults] == ([True] if fault else [])


def test_notices_are_of_what_a_node_runs() -> None:
    """The notices include dependencies of dependencies and the extras of the command, but no tool of tests.

    All are locked.
    """
    run = find_run({canonicalize_name(package.name): package for package in distributions()})
    assert {"grpcio", "sqlalchemy", "mako", "psycopg-binary", "rich"} <= set(run)
    assert not {"pytest", "ruff", "bandit", "hutong", "hutong-client"} & set(run)
    assert set(run) <= set(pins(LOCK.read_text(encoding="utf-8")))


FAULT = {"id": "PYSEC-1", "fix_versions": ["2.0"]}


@pytest.mark.parametrize(
    ("answer", "lines", "is_vulnerable"),
    [
        ("", [UNREACHABLE], False),
        ([{"name": "a", "skip_reason": "Dependency not found"}], [UNREACHABLE], False),
        ([{"name": "a", "version": "1.0", "vulns": []}], [], False),
        ([{"name": "a", "version": "1.0", "vulns": [FAULT]}], ["a 1.0: PYSEC-1, mended in 2.0"], True),
        (
            [{"name": "a", "version": "1.0", "vulns": []}, {"name": "b", "skip_reason": "Dependency not found"}],
            ["1 of 2 packages could not be checked."],
            False,
        ),
    ],
)
def test_vulnerabilities_fail_and_a_missing_network_does_not(
    answer: object, lines: list[str], is_vulnerable: bool
) -> None:
    """The output names what was not checked."""
    text = json.dumps({"dependencies": answer}) if answer else ""
    assert summarize(text) == (lines, is_vulnerable)


@pytest.mark.parametrize("path", ["pyproject.toml", "clients/python/pyproject.toml"])
def test_a_new_major_version_of_a_dependency_is_not_installed_unseen(path: str) -> None:
    """The lock file is for this repository. Others install the packages by the bounds stated here."""
    project = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *chain.from_iterable(project.get("optional-dependencies", {}).values())]
    for dependency in map(Requirement, stated):
        bounds = {specifier.operator for specifier in dependency.specifier}
        is_own, is_free = dependency.name.startswith("hutong"), dependency.name in OFTEN_RAISED
        assert bounds == (set() if is_own else {">="} if is_free else {">=", "<"}), dependency.name
