"""The TOML file of settings. Its keys and types come from the declarations of the settings."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hutong_texts import Text, english
from hutong_texts.system import system_text
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from services.runtime.configuration.open_files import is_readable_by_everybody, is_writable_by_everybody
from services.runtime.configuration.unreadable import advise_reader, is_missing
from services.runtime.configuration.variables import BadSetting, Declared

_PLACE = re.compile(r"at line (\d+), column (\d+)")
"""Finds the line and column of a fault in the text of tomllib's error. Before Python 3.14 only that text has them."""
_PASSWORDS = {"password", "sslpassword"}
"""The options of a database's URL that contain a password."""
_KINDS = {"int": (int,), "int | None": (int,), "float": (int, float), "bool": (bool,)}
_WORDS = {
    "int": english("a whole number"),
    "int | None": english("a whole number"),
    "float": english("a number"),
    "bool": english("true or false"),
}


def read_config_file(path: Path, declared: Mapping[str, Declared]) -> dict[str, str]:
    """Return the text of each setting in a TOML file, by the setting's environment variable.

    Raises:
        BadSetting: the file cannot be read, is no TOML, has an unknown key or a value of the wrong type; other users
            can change the file, or can read a file with a password.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        advice = advise_reader(error)
        if is_missing(error):
            advice = english("put it there, or correct --config or HUTONG_CONFIG; hutongd config example prints one")
        raise BadSetting(
            english(
                "the configuration file {path} cannot be read: {cause}; {advice}",
                path=path,
                cause=system_text(error),
                advice=advice,
            )
        ) from None
    except ValueError as error:
        at = _PLACE.search(str(error))
        where = english(" (line {line}, column {column})", line=at[1], column=at[2]) if at else ""
        raise BadSetting(
            english(
                "the configuration file {path} is no TOML{where}: correct it; hutongd config example prints one",
                path=path,
                where=where,
            )
        ) from None
    by_key = {one.key: one for one in declared.values()}
    tables = {key.partition(".")[0] for key in by_key if "." in key}
    texts = {}
    for key, value in _flatten(content, tables):
        one = by_key.get(key)
        if one is None:
            raise BadSetting(
                english(
                    "{path}: unknown setting {key}{suggestion}", path=path, key=key, suggestion=suggestion(key, by_key)
                )
            )
        texts[one.name] = _text(path, one, value)
    _require_private(path, texts)
    return texts


def _require_private(path: Path, texts: Mapping[str, str]) -> None:
    if is_writable_by_everybody(path):
        raise BadSetting(
            english("every user of this machine can change {file}: chmod o-w {file} and its folder", file=path)
        )
    if any(_has_password(url) for text in texts.values() for url in text.split()) and is_readable_by_everybody(path):
        raise BadSetting(
            english("every user of this machine can read the password in {file}: chmod o-rwx {file}", file=path)
        )


def _has_password(text: str) -> bool:
    """Whether a setting is a URL with a password, either before the server or in the query."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text is no URL of a database, or one that the setting itself will refuse.
        return False
    return bool(url.password) or not _PASSWORDS.isdisjoint(url.query)


def _flatten(content: Mapping[str, Any], tables: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and key in tables:
            yield from ((f"{key}.{inner}", one) for inner, one in value.items())
        else:
            yield key, value


def _text(path: Path, one: Declared, value: Any) -> str:
    """Return a value of the file as the text that the environment variable would have."""
    if value == "":
        # An empty text counts as not given, as it does in the environment.
        return ""
    allowed = _KINDS.get(one.kind, (str,))
    # In Python a bool is an int.
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise BadSetting(
            english(
                "{path}: {key} must be {kind}",
                path=path,
                key=one.key,
                kind=_WORDS.get(one.kind, english("a text in quotes")),
            )
        )
    return str(int(value)) if isinstance(value, bool) else str(value)


def suggestion(name: str, known: Iterable[str]) -> Text:
    """Return the end of a message about an unknown name.

    It names the most similar known name, or says where to find all names.
    """
    close = difflib.get_close_matches(name, list(known), 1)
    return english("; did you mean {name}?", name=close[0]) if close else english("; hutongd --help lists all settings")
