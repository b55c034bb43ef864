"""Find every text for people in the source. The catalogue must have each of them in Chinese.

Texts are the arguments of `english`, `tr` and `help_text`, helps and docstrings of commands, enum values whose words
are shown, the messages of the contract's rules, the titles of the sample policies and their documents, and the texts of
click.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog

ROOT = Path(__file__).parents[2]
FOLDERS = ("clients/python/hutong_client", "clients/python/hutong_texts", "clients/examples", "services")
MARKS = frozenset({"english", "tr", "help_text"})
"""Functions whose first argument is a text."""
_SOURCES = frozenset({"hutong_texts", "hutong_texts.text", "hutong_client.cli.help"})
"""The modules from which the marking functions are imported."""
_ENUMS = frozenset({"word", "Word", "label", "_words"})
"""Functions whose first argument is an enum of the contract. The words of this enum are shown to people."""
_CLICK = ("core", "exceptions", "types", "formatting", "termui", "parser", "decorators", "_termui_impl")
_TITLE = re.compile(r"^(?:  )?title: (.+)$", re.MULTILINE)
"""The title of a policy, or of the document that it comes from."""
_RULE = re.compile(r'message:\s*"((?:[^"\\]|\\.)*)"')


class Found(NamedTuple):
    """A text of the source.

    Attributes:
        key: the English, the name of an enum value, or a singular with its plural.
        place: the file that has it, with its line.
        context: "word" if the key is the name of an enum value.
    """

    key: str | tuple[str, str]
    place: tuple[str, int]
    context: str | None = None


class NotALiteral(ValueError):
    """A text that the catalogue cannot have, because its template is made at run time."""


def build_template() -> Catalog:
    """Return a catalogue with every text of the source and no translation."""
    catalogue = Catalog(project="hutong", charset="utf-8", fuzzy=False, header_comment="")
    for found in find_all():
        catalogue.add(found.key, locations=[(found.place[0], found.place[1])], context=found.context)
    return catalogue


def find_all() -> Iterator[Found]:
    """Yield all texts of the source, in the order of the files."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from find_in_module(path)
    for path in sorted((ROOT / "protos/hutong").rglob("*.proto")):
        content = path.read_text(encoding="utf-8")
        for match in _RULE.finditer(content):
            line = content.count("\n", 0, match.start()) + 1
            yield Found(match[1].replace('\\"', '"'), (str(path.relative_to(ROOT)), line))
    for path in sorted((ROOT / "clients/examples/policies").glob("*.yaml")):
        for title in _TITLE.findall(path.read_text(encoding="utf-8")):
            if title.strip('"')[0].isascii():
                yield Found(title.strip('"'), (str(path.relative_to(ROOT)), 1))
    yield from _find_in_click()


def find_in_module(path: Path) -> Iterator[Found]:
    """Yield the texts of one Python module."""
    content = path.read_text(encoding="utf-8")
    of_command = "hutong_client" in path.parts
    if not of_command and "hutong_texts" not in content and "hutong_texts" not in path.parts:
        return
    tree = ast.parse(content)
    place = str(path.relative_to(ROOT))
    imported = _imported_marks(tree)
    enums = _imported_enums(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _find_marked(node, place, imported, enums)
            if of_command:
                yield from _find_help(node, place)
        elif isinstance(node, ast.FunctionDef) and any(map(_makes_a_command, node.decorator_list)):
            documented = ast.get_docstring(node)
            if documented:
                yield Found(inspect.cleandoc(documented), (place, node.lineno))


def _find_marked(node: ast.Call, place: str, imported: frozenset[str], enums: dict[str, str]) -> Iterator[Found]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in imported and node.args:
        literal = _literal(node.args[0])
        if literal:
            yield Found(literal, (place, node.lineno))
        elif name != "tr":
            raise NotALiteral(f"{place}:{node.lineno}: the template must be a literal")
        elif isinstance(node.args[0], ast.JoinedStr | ast.BinOp):
            raise NotALiteral(f"{place}:{node.lineno}: give the values as arguments")
    elif name in _ENUMS and node.args:
        for value in _values_of(node.args[0], enums):
            yield Found(value, (place, node.lineno), "word")


def _find_help(node: ast.Call, place: str) -> Iterator[Found]:
    """Yield the text that a call gives as its help."""
    for keyword in node.keywords:
        if keyword.arg in {"help", "short_help"}:
            literal = _literal(keyword.value)
            if literal:
                yield Found(inspect.cleandoc(literal), (place, keyword.value.lineno))
            elif isinstance(keyword.value, ast.JoinedStr | ast.BinOp):
                raise NotALiteral(f"{place}:{keyword.value.lineno}: use help_text for a help text with values")


def _literal(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _makes_a_command(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call):
        return False
    function = decorator.func
    return isinstance(function, ast.Attribute) and function.attr in {"command", "group"}


def _imported_marks(tree: ast.Module) -> frozenset[str]:
    """Return the marking functions that a module imports or defines.

    Functions of other packages may have the same names.
    """
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return MARKS & defined | frozenset(
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "") in _SOURCES
        for alias in node.names
        if alias.name in MARKS
    )


def _imported_enums(tree: ast.Module) -> dict[str, str]:
    """Return the full names of the stub modules that a module imports, by the names that they have in it."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hutong.")
        for alias in node.names
    }


def _values_of(node: ast.expr, enums: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in enums:
        enum = getattr(importlib.import_module(enums[node.value.id]), node.attr)
    elif isinstance(node, ast.Name) and node.id in enums:
        module, _, name = enums[node.id].rpartition(".")
        enum = getattr(importlib.import_module(module), name)
    else:
        return
    yield from (name for name, number in enum.items() if number)


def _find_in_click() -> Iterator[Found]:
    """Yield the texts that click shows by gettext."""
    for module in _CLICK:
        spec = importlib.util.find_spec(f"click.{module}")
        assert spec is not None
        assert spec.origin is not None
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "ngettext"}:
                forms = [_literal(argument) for argument in node.args[: 1 + (node.func.id == "ngettext")]]
                if all(forms):
                    place = (f"click/{module}.py", 1)
                    yield Found(forms[0] if len(forms) == 1 else (forms[0], forms[1]), place)
