"""Help texts in the language of the process, laid out by the width of their characters."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import click
from hutong_texts import ENGLISH, Text, current_language, english, tr
from hutong_texts.language import LANGUAGES, match_language
from hutong_texts.layout import pad, width_of, wrap

_composed: dict[str, Text] = {}
_WORDS = {
    str(word): word
    for word in (
        english("file"),
        english("directory"),
        english("path"),
        english("text"),
        english("integer"),
        english("integer range"),
        english("float"),
        english("float range"),
        english("[OPTIONS]"),
        english("COMMAND [ARGS]..."),
        english("required"),
    )
}
"""Words that click writes in English: names of argument types, and pieces of the usage line. It translates the last one
itself, if the catalogue has it."""


def help_text(template: str, /, **values: Any) -> str:
    """Return a help text with values.

    Click keeps only the English text, by which `translate_help` finds the template.
    """
    made = Text(template, values)
    _composed[str(made)] = made
    return str(made)


def translate_help(english: str) -> str:
    """Return a help text in the language of the process."""
    return tr(_composed.get(english, english))


class Help(click.HelpFormatter):
    """Layout of helps in which a Chinese character takes two columns."""

    def write_text(self, text: str) -> None:
        """Write paragraphs, wrapped and indented."""
        indent = " " * self.current_indent
        for number, paragraph in enumerate(text.split("\n\n")):
            if number:
                self.write("\n")
            as_is = paragraph.startswith("\b\n")
            lines = paragraph[2:].splitlines() if as_is else wrap(paragraph, self.width - self.current_indent)
            self.write("".join(f"{indent}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms with their explanations beside them."""
        rows = list(rows)
        column = min(max((width_of(term) for term, _ in rows), default=0), col_max) + col_spacing
        for term, explanation in rows:
            line = f"{'':{self.current_indent}}{term}"
            lines = wrap(explanation, max(self.width - self.current_indent - column, 10))
            if lines and width_of(term) <= column - col_spacing:
                line = pad(line, self.current_indent + column) + lines.pop(0)
            self.write(f"{line.rstrip()}\n")
            self.write("".join(f"{'':{self.current_indent + column}}{rest}\n" for rest in lines))


class _Context(click.Context):
    formatter_class = Help


class _Language(click.Choice[str]):
    """Argument type for a language: its word, or the name of a locale such as "zh_CN.UTF-8"."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word of the language."""
        found = match_language(value)
        words = {language: word for word, language in LANGUAGES.items()}
        return super().convert(value if found is None else words[found], param, ctx)


class _Translated(click.Command):
    """A command whose help is in the language of the process.

    Click keeps the English texts, and they are translated when shown.
    """

    context_class = _Context

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The entry point reads the language before anything is parsed, so every command accepts the option.
        self.params.append(
            click.Option(
                ["--lang"],
                type=_Language([*LANGUAGES]),
                expose_value=False,
                help="The language of texts; default: LANGUAGE, then LC_ALL, LC_MESSAGES, LANG.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. Errors and helps name the types of arguments in the language of the process."""
        with _named_kinds({param.type for param in self.params}):
            return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the pieces of the usage line."""
        return [tr(_WORDS.get(piece, piece)) for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write what the command does."""
        if self.help:
            with formatter.indentation():
                formatter.write_paragraph()
                formatter.write_text(translate_help(inspect.cleandoc(self.help)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        records = (_translated(param).get_help_record(ctx) for param in options)
        shown = [record for record in records if record is not None]
        if shown:
            with formatter.section(tr("Options")):
                formatter.write_dl(shown)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence of the help."""
        if current_language() == ENGLISH or not self.help:
            return super().get_short_help_str(limit)
        first, _, _ = translate_help(inspect.cleandoc(self.help)).partition("。")
        return first


class Command(_Translated):
    """A command with an example.

    Args:
        example: the arguments of a call that the help shows, without "hutong" and the command's own name.
    """

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        if self.example:
            with formatter.section(tr("Example")):
                formatter.write(f"{'':{formatter.current_indent}}{ctx.command_path} {self.example}\n")


class Group(_Translated, click.Group):
    """A group of commands."""


@contextlib.contextmanager
def _named_kinds(types: Iterable[click.ParamType[Any]]) -> Iterator[None]:
    """Name argument types in the language of the process until the block ends."""
    before = [(kind, kind.name) for kind in types if kind.name in _WORDS]
    for kind, name in before:
        kind.name = tr(_WORDS[name])
    try:
        yield
    finally:
        for kind, name in before:
            kind.name = name


def _translated(param: click.Option) -> click.Option:
    if not param.help:
        return param
    shown = copy.copy(param)
    shown.help = tr("Show this message and exit.") if param.name == "help" else translate_help(param.help)
    return shown
