"""Every code block and every command of the documents is run by a test: the block as it stands, the command by name."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from collections.abc import Sequence

import pytest

from tests.support.pages import ROOT, Block, blocks, commands, documents, spellings
from tests.support.processes import run

TESTS = ROOT / "tests"
UNTESTED = {TESTS / "contract" / name for name in ("test_docs.py", "test_docs_are_run.py", "test_commands.py")}
"""Tests that only compare names, and run no command."""
SHELL = re.compile(r"^(\$|hutongd?|make|grpcurl|curl|openssl|npm|mvn|go|pip|python3?) ", re.MULTILINE)
RECIPES = {
    "api": "make openapi-fresh",
    "certs": "tests/e2e/test_tls_page.py",
    "demo": "tests/e2e/test_demo.py",
    "demo-nation": "tests/e2e/test_demo.py",
    "envoy": "tests/web/test_envoy.py",
    "golden": "tests/unit/verification/decision/test_golden_decisions.py",
    "grpcurl": "tests/e2e/test_grpcurl.py",
    "help": "tests/contract/test_docs_are_run.py",
    "migrate": "tests/rpc/runtime/test_process.py",
    "notices": "tests/contract/test_supply.py",
    "protos": "make protos-fresh",
    "quick": "make lint test",
    "release": "tests/contract/test_release.py",
    "run": "tests/e2e/test_demo.py",
    "soak": "tests/e2e/test_kill.py",
    "soak-fuzz": "tests/e2e/test_hostile_callers.py",
    "soak-model": "tests/unit/policy/rules/test_resolution.py",
    "soak-protocol": "tests/tools/test_exchange_model.py",
    "soak-failover": "tests/tools/test_failover.py",
    "soak-pooler": "tests/tools/test_soak_pooler.py",
    "soak-restore": "tests/tools/test_soak_restore.py",
    "soak-upgrade": "tests/tools/test_rolling_upgrade.py",
    "stubs": "make protos-fresh openapi-fresh check-go check-typescript",
    "texts": "tests/contract/test_texts.py",
    "vulnerabilities": "tests/contract/test_supply.py",
    "wheel": "tests/contract/test_wheel.py",
}
"""The code that a target runs and CI does not make: a file of tests, or targets of CI."""
BY_HAND = {
    "soak-citus": "it needs a Citus, which is no package",
    "bench-compare": "its figures are those of a quiet machine",
    "bench": "its figures are those of a quiet machine",
    "lock": "it asks for the newest versions",
    "pythons": "it downloads every package for four versions of Python",
    "soak-memory": "it takes 45 minutes on a quiet machine",
    "soak-mix": "it takes 45 minutes on a quiet machine",
    "sbom": "its tools are installed for it alone",
}
"""Targets that only a person makes, and why."""


def literal(node: ast.expr) -> str | None:
    """Return the value of a text that stands in the source."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def blocks_asked_for() -> set[Block]:
    """Return the blocks that tests ask for."""
    asked: set[Block] = set()
    for path in sorted(TESTS.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if re.search(r"\bblock\(", text) else ():
            match node:
                case ast.Call(func=ast.Name("block"), args=arguments):
                    document, language, *holding = map(literal, arguments)
                    assert document, f"{path}:{node.lineno}: name the document and the language by literals"
                    asked |= {each for each in blocks(document) if each.is_meant(language, *holding)}
    return asked


@dataclasses.dataclass
class Words:
    """The names in a test file's calls, lists, tuples and texts."""

    paths: set[tuple[str, ...]] = dataclasses.field(default_factory=set)
    """Words that stand side by side, two to four of them, and words among the first three of a sequence.

    A command of one word must be among those three, because that word stands elsewhere too.
    """
    options: set[str] = dataclasses.field(default_factory=set)
    """Words, without what follows their equals sign."""

    def add(self, sequence: Sequence[str | None]) -> None:
        """Add the words of one sequence. A word that is not a literal is None."""
        self.paths |= {(word,) for word in sequence[:3] if word is not None}
        for length in (2, 3, 4):
            for at in range(len(sequence) - length + 1):
                self.paths.add(tuple(word or "" for word in sequence[at : at + length]))
        self.options |= {word.partition("=")[0] for word in sequence if word is not None}


@functools.cache
def words_of_tests() -> list[Words]:
    """Return the words of each file of tests."""
    found = []
    for path in sorted(set(TESTS.rglob("*.py")) - UNTESTED):
        words = Words()
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            match node:
                case ast.Call(args=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
                    words.add([literal(part) for part in parts])
                case ast.Constant(value=str(text)) if " " in text and id(node) not in docstrings:
                    words.add(text.split())
        found.append(words)
    return found


def test_every_block_is_run() -> None:
    """A test asks for it with `block(...)`. Pictures and outputs are of the language `text`, and hold no command."""
    every = [each for document in documents() for each in blocks(document)]
    pictures = {each for each in every if each.language == "text"}
    assert [str(each) for each in every if not each.language] == [], "name the language after the fence"
    assert [str(each) for each in pictures if SHELL.search(each.text)] == [], "a picture holds a command"
    asked = blocks_asked_for()
    assert [str(each) for each in every if each not in pictures | asked] == [], "no test runs the block"


def is_run(path: tuple[str, ...], options: set[str]) -> bool:
    """Return whether the files of tests that have a command's words have all its options too."""
    named = [words.options for words in words_of_tests() if not path or path in words.paths]
    return bool(named) and options <= set().union(*named)


def test_every_command_is_run() -> None:
    """A test names each command of `hutong` and `hutongd` with the options that a document gives it."""
    lines = {line for document in documents() for line in commands(ROOT / document)}
    missing = [line for line in sorted(lines) for _, path, options in spellings(line) if not is_run(path, options)]
    assert missing == [], "no test runs the command"


@functools.cache
def makefile() -> str:
    """Return the Makefile."""
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@functools.cache
def targets_of_ci() -> set[str]:
    """Return the targets that `.ci/run` makes, with those that they need."""
    needs = {
        target: words.partition("##")[0].split()
        for target, words in re.findall(r"^([a-z][a-z-]*):(?!=)(.*)$", makefile(), re.MULTILINE)
    }
    found: set[str] = set()
    waiting = re.findall(r"\bmake ([a-z][a-z-]*)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    waiting += ["check-go", "check-typescript", "check-java"]
    while waiting:
        target = waiting.pop()
        if target in needs and target not in found:
            found.add(target)
            waiting += needs[target]
    return found


def test_every_target_is_made_or_its_code_is_run() -> None:
    """CI makes it, or what its recipe runs is run by a test. A target that only a person makes says why."""
    lines = {line for document in documents() for line in commands(ROOT / document)}
    named = {target for line in lines for target in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert named - targets_of_ci() - RECIPES.keys() - BY_HAND.keys() == set()


@pytest.mark.parametrize(("target", "runner"), RECIPES.items())
def test_what_runs_a_recipe_exists(target: str, runner: str) -> None:
    """A file of tests exists, and a target is one of CI's."""
    assert target not in targets_of_ci()
    if runner.startswith("make "):
        assert set(runner.split()[1:]) <= targets_of_ci()
    else:
        assert (ROOT / runner).is_file()


def test_help_lists_the_targets() -> None:
    """Every target with a description is listed by `make`, which needs no environment for it."""
    done = run(["make", "--no-print-directory", "help"], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    described = re.findall(r"^([a-z-]+):.*##", makefile(), re.MULTILINE)
    assert [line.split()[0] for line in done.stdout.splitlines()] == described
