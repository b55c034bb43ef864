"""A text in English that knows its template and its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self


class Text(str):
    """A text in English, which can be written in another language later.

    Attributes:
        template: the English with its placeholders, which is the key in the catalogue.
        values: the values of the placeholders. A value that is itself a Text is translated too.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, values: Mapping[str, Any] | None = None) -> Self:
        """Return the English of a template. If there are no values, braces in the template are plain characters."""
        made = super().__new__(cls, template.format_map(values) if values else template)
        made.template = template
        made.values = values or {}
        return made

    def __reduce__(self) -> tuple[type[Text], tuple[str, dict[str, Any]]]:
        """Keep the template and the values when a process sends the text to another one."""
        return (type(self), (self.template, dict(self.values)))


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
