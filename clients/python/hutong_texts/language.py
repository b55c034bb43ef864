"""The language of a process: the command's option `--lang`, then the variables of GNU gettext."""

from __future__ import annotations

import gettext
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hutong_texts.catalogue import CHINESE, DOMAIN, ENGLISH, LOCALE, translate
from hutong_texts.text import Text

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
"""Languages by the words that `--lang` takes."""
_LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Variables that name a locale. The first that is not empty counts."""
_WEIGHT = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")
_current = ENGLISH


def current_language() -> str:
    """Return the language of this process."""
    return _current


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Write the texts of this process, click's included, in the given language until the block ends.

    Click gets its texts through the standard library's gettext, which reads the language from the variable LANGUAGE.
    """
    global _current  # noqa: PLW0603 - a process speaks one language
    before, variable, domain = _current, os.environ.get("LANGUAGE"), gettext.textdomain()
    gettext.bindtextdomain(DOMAIN, str(LOCALE))
    gettext.textdomain(DOMAIN)
    _current = language
    os.environ["LANGUAGE"] = language
    try:
        yield
    finally:
        _current = before
        gettext.textdomain(domain)
        if variable is None:
            del os.environ["LANGUAGE"]
        else:
            os.environ["LANGUAGE"] = variable


def tr(message: str, /, **values: Any) -> str:
    """Return a text in the language of this process. Values fill the placeholders of a template."""
    return translate(Text(message, values) if values else message, _current)


def list_words(words: Iterable[str]) -> str:
    """Return words as a list in the language of this process: "a, b", in Chinese "a、b"."""
    return tr(", ").join(words)


def find_language(environment: Mapping[str, str]) -> str:
    """Return the language that the environment asks for, as GNU gettext finds it.

    LANGUAGE lists languages. It is used in preference to the locale, except if the locale is C or POSIX.
    """
    locale = next((environment[name] for name in _LOCALES if environment.get(name)), "")
    if locale in {"C", "POSIX"}:
        return ENGLISH
    for name in (*environment.get("LANGUAGE", "").split(":"), locale):
        if name:
            found = match_language(name)
            if found is not None:
                return found
    return ENGLISH


def choose_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the language that a command's option `--lang` names, else the language that the environment asks for.

    A command needs its language before its arguments are parsed, because the parser has messages too.
    """
    for at, argument in enumerate(arguments):
        option, equals, given = argument.partition("=")
        if option == "--lang":
            found = match_language(given if equals else "".join(arguments[at + 1 : at + 2]))
            if found is not None:
                return found
    return find_language(environment)


def match_language(name: str) -> str | None:
    """Return the language of a name such as "zh_CN.UTF-8" or "zh-Hans-CN"; None for a language without texts."""
    return LANGUAGES.get(re.split(r"[-_.@]", name.strip(), maxsplit=1)[0].lower())


def accepted_language(header: str) -> str:
    """Return the language of an `accept-language`, such as "zh-CN,zh;q=0.9,en;q=0.8" (RFC 9110, section 12.5.4)."""
    best, most = ENGLISH, 0.0
    for entry in header[:200].split(","):
        name, _, parameter = entry.partition(";")
        found = match_language(name)
        weighted = _WEIGHT.fullmatch(parameter.strip())
        weight = float(weighted[1]) if weighted else 0.0 if parameter else 1.0
        if found is not None and weight > most:
            best, most = found, weight
    return best
