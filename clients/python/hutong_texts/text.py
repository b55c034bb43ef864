"""A text in English that knows its template and its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Self

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Text(str):
    """A text in English, which can be written in another language later.

    Attributes:
        template: the English with its placeholders, which is the key in the catalogue.
        values: the values of the placeholders. A value that is itself a Text is translated too. A path becomes a text
            in which control characters are escaped, so that the name of a file cannot add a line.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, values: Mapping[str, Any] | None = None) -> Self:
        """Return the English of a template. If there are no values, braces in the template are plain characters."""
        shown = {name: _show_path(value) for name, value in values.items()} if values else {}
        made = super().__new__(cls, template.format_map(shown) if shown else template)
        made.template = template
        made.values = shown
        return made

    def __reduce__(self) -> tuple[type[Text], tuple[str, dict[str, Any]]]:
        """Keep the template and the values when a process sends the text to another one."""
        return (type(self), (self.template, dict(self.values)))


def _show_path(value: Any) -> Any:
    """Return a path as a text with its control characters escaped as in JSON, and any other value as it is."""
    return escape_controls(str(value)) if isinstance(value, PurePath) else value


def escape_controls(text: str, kept: str = "") -> str:
    """Return a text with its control characters escaped as in JSON, except those in `kept`."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in kept else f"\\u{ord(match[0]):04x}", text)


def english(template: str, /, **values: Any) -> Text:
    """Return a text in English. The template must be a literal, because the catalogue is extracted from the source."""
    return Text(template, values)


def text_of(error: BaseException) -> Text:
    """Return what an error says. If the error was made with a template, the text has this template."""
    said = error.args[0] if error.args else ""
    return said if isinstance(said, Text) else Text(str(said))


def join(parts: Iterable[str]) -> Text:
    """Return the parts as one text, separated by semicolons."""
    joined: Text | None = None
    for part in parts:
        following = part if isinstance(part, Text) else Text("{one}", {"one": part})
        joined = following if joined is None else english("{first}; {rest}", first=joined, rest=following)
    return joined if joined is not None else Text("")
