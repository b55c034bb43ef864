"""Runs the chosen checks, and prints them as a table at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clients import has_tool, require
from tests.support.conformance.languages import LANGUAGES
from tests.support.conformance.suite import CHECKS, NETWORKS, Key, Suite

_outcomes = pytest.StashKey[dict[Key, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the table."""
    config.stash[_outcomes] = {}


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The checks of this run whose language has its tool."""
    chosen = [key for item in request.session.items if (key := _key(item)) and has_tool(key[1])]
    running = Suite(tmp_path_factory.mktemp("conformance"), chosen)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def tool_is_installed(language: str) -> None:
    """A client without its tool is skipped with a message, and fails in CI."""
    require(language)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep the outcome of each check for the table."""
    report: pytest.TestReport = yield  # type: ignore[assignment,misc]
    key = _key(item)
    if key and (report.when == "call" or not report.passed):
        item.config.stash[_outcomes][key] = report.outcome
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print a line for each check and a column for each client."""
    outcomes = config.stash[_outcomes]
    for network in NETWORKS:
        found = {key: outcome for key, outcome in outcomes.items() if key[0] == network}
        if not found:
            continue
        title = "plain text" if network == "near" else "mutual TLS, 0.5 s each way"
        languages = [language for language in LANGUAGES if any(key[1] == language for key in found)]
        terminalreporter.section(f"conformance: {title}")
        terminalreporter.line(f"{'':34}" + "".join(f"{language:12}" for language in languages))
        for number, check in enumerate(CHECKS, 1):
            cells = [found.get((network, language, number), "-") for language in languages]
            name = check.__name__.replace("_", " ")
            terminalreporter.line(f"{number:2}  {name:30}" + "".join(f"{cell:12}" for cell in cells))


def _key(item: pytest.Item) -> Key | None:
    """Return what a test checks."""
    parameters = getattr(item, "callspec", None)
    if parameters is None or not {"network", "language", "number"} <= parameters.params.keys():
        return None
    return tuple(parameters.params[name] for name in ("network", "language", "number"))
