"""The code blocks of the documents, which tests run as they stand."""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = {"hutong", "hutongd"}
"""The commands that the repository installs."""
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_WORD = re.compile(r"[a-z][a-z-]*(?:\|[a-z][a-z-]*)*")
_DOCUMENTS = ("*.md", "docs/**/*.md", "clients/*.md", "clients/*/*.md")
"""Where documents are. Packages of tools that the clients install lie deeper."""
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a document.

    Attributes:
        document: the path of the document, from the top of the repository.
        line: the line of its fence, from 1.
        language: the word after the fence. `text` is a picture or an output, which no test runs.
        text: its lines without the indentation of its fence.
    """

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    def is_meant(self, language: str | None, holding: str | None = "") -> bool:
        """Return whether it is in a language and holds a text."""
        return self.language == language and holding is not None and holding in self.text


def documents() -> list[str]:
    """Return the paths of all documents of the repository."""
    found = [path for pattern in _DOCUMENTS for path in sorted(ROOT.glob(pattern))]
    return [str(path.relative_to(ROOT)) for path in found]


def blocks(document: str) -> list[Block]:
    """Return the code blocks of a document."""
    page = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(document, page.count("\n", 0, found.start()) + 1, found[2], textwrap.dedent(found[3]))
        for found in _FENCE.finditer(page)
    ]


def block(document: str, language: str, holding: str = "") -> str:
    """Return the only block of a document in a language that holds a text.

    A test that runs a block calls this with literals. tests/contract/test_docs_are_run.py looks for these calls, and
    fails for a block that no test asks for.
    """
    found = [each.text for each in blocks(document) if each.is_meant(language, holding)]
    assert len(found) == 1, f"{document} has {len(found)} blocks of {language!r} with {holding!r}"
    return found[0]


def prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def code_spans(document: Path) -> Iterator[str]:
    """Yield each text in backticks as one line."""
    for span in _CODE.findall(prose(document)):
        yield " ".join(span.split())


def commands(document: Path) -> Iterator[str]:
    """Yield what a reader may type: texts in backticks, and the lines of code blocks without their comments."""
    yield from code_spans(document)
    for each in blocks(str(document.relative_to(ROOT))):
        for line in each.text.splitlines():
            yield line.partition("#")[0].strip().removeprefix("$ ")


def spellings(line: str) -> Iterator[tuple[str, tuple[str, ...], set[str]]]:
    """Yield each command that a line names: the program, its words up to the first argument, and its options."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    if not words or words[0] not in PROGRAMS:
        return
    path = list(itertools.takewhile(_WORD.fullmatch, words[1:]))
    options = {word.strip("[].,") for word in words if word.lstrip("[").startswith("--")}
    for choice in itertools.product(*(word.split("|") for word in path)):
        yield words[0], choice, options
