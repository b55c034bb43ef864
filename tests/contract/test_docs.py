"""Tests that everything the documents name exists: links, commands, paths, settings, metrics and cited sections."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hutong_client.cli.main import run as run_hutong

from services.__main__ import run as run_hutongd
from services.runtime.configuration.settings import VARIABLES
from tests.support.access.methods import METHODS
from tests.support.pages import block, code_spans, commands, prose, spellings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^()\s]+)\)")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
NAME = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+|[a-z]+(?:_[a-z]+)+")
FOREIGN = {
    *("shared_buffers", "process_resident_memory_bytes", "max_connections", "max_prepared_transactions"),
    *("max_standby_streaming_delay", "synchronous_standby_names", "primary_conninfo", "pg_basebackup", "pg_rewind"),
    *("default_pool_size", "idle_transaction_timeout", "pg_archivecleanup", "pg_wal"),
    *("citus_add_node", "citus_create_restore_point", "citus_set_coordinator_host"),
    *("get_all_active_transactions", "max_worker_processes", "pg_config", "run_command_on_workers"),
}
"""Names of settings and functions of PostgreSQL, pgbouncer and Citus, and of metrics of the client of Prometheus."""
OF_TESTS = {"HUTONG_TEST_CITUS_URL"}
"""Variables that tests read, and no service."""
COMMANDS = {"hutong": run_hutong, "hutongd": run_hutongd}
TREES = ("services", "protos", "tests", "clients", "migrations", "docs", "deploy")
PLACEHOLDERS = re.compile(r"[<>{}*…]")
SECTION = re.compile(r"docs/([a-z]+)\.md,? §\s?([0-9]+(?:\.[0-9]+)?)")


def named(path: Path) -> str:
    """Return the name of a document in the ids of tests."""
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def sources() -> str:
    """Return all code of the services as one text."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "services").rglob("*.py")))


@pytest.fixture(scope="module")
def known_names(sources: str) -> set[str]:
    """Return all words of the contract and the code."""
    protos = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "protos").rglob("*.proto")))
    return set(re.findall(r"\w+", protos + sources))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_relative_links_lead_somewhere(document: Path) -> None:
    """Every relative link leads to a file or folder of the repository."""
    targets = {target.partition("#")[0] for target in LINK.findall(prose(document)) if "://" not in target}
    assert not [target for target in sorted(targets) if target and not (document.parent / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_no_conflict_of_a_merge_is_left(document: Path) -> None:
    """Markdown shows the markers of a conflict as text, so that nothing else would find them."""
    assert not re.search(r"^(<{7} |={7}$|>{7} )", document.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_make_targets_exist(document: Path) -> None:
    """Every target that a document names is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named_targets = {target for command in commands(document) for target in MAKE.findall(command)}
    assert named_targets <= targets


@functools.cache
def help_of(program: str, path: tuple[str, ...]) -> str:
    """Return the help of a command; empty if there is no such command."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(io.StringIO()):
        try:
            code: object = COMMANDS[program]([*path, "--help"])
        except SystemExit as end:
            code = end.code
    return "" if code else text.getvalue()


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "clients/python/README.md"], ids=named)
def test_commands_exist(document: Path) -> None:
    """Every command of `hutong` and `hutongd` in a document exists with the options that the document gives it."""
    wrong = []
    for line in sorted(set(commands(document))):
        for program, path, options in spellings(line):
            text = help_of(program, path)
            if not text or not options <= {*re.findall(r"--[a-z-]+", text), "--version", "--config"}:
                wrong.append(line)
    assert not wrong


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
def test_the_pepper_is_split_and_joined_as_the_page_says(tmp_path: Path) -> None:
    """The commands of the page about keys make a pepper and two parts, and the two parts make it again."""
    (make,) = [span for span in code_spans(ROOT / "docs/security.md") if span.endswith("> pepper")]
    split = block("docs/security.md", "sh")
    join = (
        split.splitlines()[1]
        .replace('"first"', '"second"')
        .replace('"pepper"', '"first"')
        .replace("> second", "> again")
    )
    for script in (make, split, join):
        subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    pepper = (tmp_path / "pepper").read_bytes()
    assert (tmp_path / "again").read_bytes() == pepper
    assert len({(tmp_path / name).read_bytes() for name in ("pepper", "first", "second")}) == 3


def test_the_readme_lists_every_rpc() -> None:
    """A row begins with a service and has its methods. Internal services are left out."""
    listed = set()
    for row in re.findall(
        r"^\| (`\w+Service\.[^|]*)\|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    ):
        service, _, first = re.findall(r"`([^`]+)`", row)[0].partition(".")
        listed |= {(service, method) for method in (first, *re.findall(r"`([^`]+)`", row)[1:])}
    every = {
        (method.containing_service.name, method.name) for method in METHODS if ".internal." not in method.full_name
    }
    assert listed == every


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_paths_exist(document: Path) -> None:
    """Every path in backticks that begins with a folder of the repository exists, except patterns of paths."""
    paths = {span for span in code_spans(document) if span.startswith(tuple(f"{tree}/" for tree in TREES))}
    wanted = {path for path in paths if " " not in path and not PLACEHOLDERS.search(path)}
    assert not [path for path in sorted(wanted) if not (ROOT / path).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_settings_exist(document: Path) -> None:
    """Every complete HUTONG_ name is a setting."""
    settings = {name for span in code_spans(document) for name in re.findall(r"HUTONG_[A-Z_]*[A-Z](?![A-Z_])", span)}
    assert settings - OF_TESTS <= set(VARIABLES)


def test_metrics_exist(sources: str) -> None:
    """Every metric of the operators' page is defined in the services."""
    text = prose(ROOT / "docs/operations.md")
    metrics = set(re.findall(r"`(hutong_[a-z_]+|grpc_server_[a-z_]+)", text))
    assert metrics
    # The Prometheus client appends _total to a counter's name.
    assert not [name for name in sorted(metrics) if f'"{name}"' not in sources and f'"{name[:-6]}"' not in sources]


@pytest.mark.parametrize("document", sorted((ROOT / "docs").rglob("*.md")), ids=named)
def test_names_exist(document: Path, known_names: set[str]) -> None:
    """Every name of two or more words in backticks is in the contract or the code."""
    names = {span for span in code_spans(document) if NAME.fullmatch(span)}
    assert names - FOREIGN <= known_names


def test_every_decision_on_the_design_is_listed() -> None:
    """The list names every page, and the pages are numbered without a gap."""
    pages = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [page[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    assert LINK.findall(prose(ROOT / "docs/adr/README.md")) == pages


def test_sections_that_are_cited_exist(sources: str) -> None:
    """Every section that code or a document cites exists."""
    texts = [sources, *(document.read_text(encoding="utf-8") for document in DOCUMENTS)]
    for page, number in sorted({cited for text in texts for cited in SECTION.findall(text)}):
        headings = re.findall(r"^#+ §?([0-9.]+[0-9]|[0-9])", prose(ROOT / f"docs/{page}.md"), re.MULTILINE)
        assert number in headings, f"docs/{page}.md §{number}"
