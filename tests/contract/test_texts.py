"""Every text for people has Chinese: the catalogue compared with the source."""

from __future__ import annotations

import ast
import functools
import re
import string
from pathlib import Path

import hutong_client
import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from hutong_texts.catalogue import CHINESE
from hutong_texts.language import LANGUAGES

from clients.texts.__main__ import COMPILED, SOURCE, encode, read_catalogue
from clients.texts.extract import ROOT, build_template, find_in_module

SHOWN = [
    *sorted((Path(hutong_client.__file__).parent / "cli").rglob("*.py")),
    *sorted((ROOT / "services/command").glob("*.py")),
    ROOT / "services/__main__.py",
]
"""The modules of `hutong` and of `hutongd`."""
PRINTING = [path for path in SHOWN if "hutong_client" in path.parts and path.name != "output.py"]
"""The modules of `hutong` that print through output.py."""
SHOWING = {
    "say",
    "echo",
    "secho",
    "confirm",
    "UsageError",
    "BadParameter",
    "ClickException",
    "fail",
    "NotATable",
    "BadCell",
    "print",
    "Finding",
    "ArgumentTypeError",
}
"""Functions whose first argument is shown to a person."""
OF_COMMANDS = re.compile(r"hutongd?|HUTONG_[A-Z_]+")
"""Names of commands and settings."""
NAMES = {"{name}: {action}: hutong pending approve {name2}", "  {name}, nodes/{region}: {services}"}
"""Templates that have only names of resources and commands beside their values."""


@functools.cache
def catalogue() -> Catalog:
    """Return the committed catalogue."""
    return read_catalogue()


@functools.cache
def template() -> Catalog:
    """Return the texts of the source."""
    return build_template()


def keys(texts: Catalog) -> set[tuple[object, str | None]]:
    return {(message.id, message.context) for message in texts if message.id}


def forms(text: object) -> list[str]:
    """Return a text, or the singular and the plural."""
    return list(text) if isinstance(text, tuple | list) else [str(text)]


def placeholders(text: str) -> set[tuple[str | None, str | None]]:
    """Return the placeholders of a template with their formats; none if its braces stand for themselves."""
    try:
        return {(name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:
        return set()


def test_catalogue_has_the_texts_of_the_source() -> None:
    """No text is missing, and none is gone. `make texts` brings the catalogue up to date."""
    assert keys(template()) - keys(catalogue()) == set()
    assert keys(catalogue()) - keys(template()) == set()
    assert not catalogue().obsolete


def test_every_text_has_chinese() -> None:
    """No text is empty, none is marked as unsure, and none is its English."""
    for message in catalogue():
        if message.id:
            assert message.string, message.id
            assert not message.fuzzy, message.id
            for chinese in forms(message.string):
                assert chinese, message.id
                is_chinese = any("\u4e00" <= character <= "\u9fff" for character in chinese)
                has_words = any(map(str.isalpha, OF_COMMANDS.sub("", string_without_values(chinese))))
                assert is_chinese or not has_words or message.id in NAMES, message.id


def string_without_values(text: str) -> str:
    """Return a template without its placeholders."""
    try:
        return "".join(literal for literal, _, _, _ in string.Formatter().parse(text))
    except ValueError:
        return text


def test_placeholders_are_equal_in_both_languages() -> None:
    """A value has the same name and format in Chinese, and no Chinese uses a value that its English lacks."""
    for message in catalogue():
        if message.id:
            wanted = placeholders(forms(message.id)[-1])
            for chinese in forms(message.string):
                assert placeholders(chinese) == wanted, message.id
            assert forms(message.id)[-1].count("%(") == forms(message.string)[-1].count("%("), message.id


def test_committed_files_are_those_that_make_texts_writes() -> None:
    """Both files equal what `make texts` writes, so that programs read the texts that people have edited."""
    with SOURCE.open("rb") as file:
        committed = read_po(file, locale=CHINESE)
    committed.header_comment = catalogue().header_comment
    edited, compiled = encode(committed)
    assert COMPILED.read_bytes() == compiled
    assert SOURCE.read_bytes() == edited


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_command_prints_is_marked(path: Path) -> None:
    """No command shows a literal of several words, or a text with values, that the catalogue cannot know."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function = node.func
        name = (
            function.attr
            if isinstance(function, ast.Attribute)
            else function.id
            if isinstance(function, ast.Name)
            else ""
        )
        if name in SHOWING:
            words = [
                part.value
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.Constant)
                and isinstance(part.value, str)
                and not inside_a_mark(node.args[0], part)
            ]
            found += [word for word in words if any(map(str.isalpha, word)) and " " in word.strip()]
    assert found == []


@pytest.mark.parametrize("path", PRINTING, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_command_prints_has_its_control_characters_escaped(path: Path) -> None:
    """Commands of `hutong` print through output.py alone, which escapes what others wrote."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = {function.attr for function in calls if isinstance(function, ast.Attribute)}
    assert not {"echo", "secho"} & named
    assert "print" not in {function.id for function in calls if isinstance(function, ast.Name)}


def inside_a_mark(top: ast.AST, part: ast.AST) -> bool:
    """Whether a literal is an argument of a function, such as `tr`, inside the expression."""
    return any(part in ast.walk(call) for call in ast.walk(top) if isinstance(call, ast.Call) and part is not call.func)


def test_extraction_refuses_a_template_that_is_made_at_run_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template that is not a literal would be missing from the catalogue."""
    module = tmp_path / "module.py"
    module.write_text('from hutong_texts import tr\ntr(f"{1} results")\n')
    monkeypatch.setattr("clients.texts.extract.ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"module\.py:2: give the values as arguments"):
        list(find_in_module(module))


def test_languages_of_the_option_are_those_of_the_catalogue() -> None:
    """The command offers English, in which the source is written, and the language of the one catalogue."""
    assert set(LANGUAGES.values()) == {"en", CHINESE}
    assert [path.name for path in SOURCE.parents[2].iterdir()] == [CHINESE]
