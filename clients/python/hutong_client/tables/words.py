"""Words of laboratories, read from tables of data."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from hutong_client.tables.rows import Cell

_SPACES_AND_STOPS = re.compile(r"[\s\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]+|[。.!！;；,，、]+$")
ERROR_VALUES = frozenset({
    "#REF!", "#NAME?", "#N/A", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!",
    "#CONNECT!", "#BUSY!", "#UNKNOWN!", "#GETTING_DATA", "Err:502", "Err:504", "Err:508", "Err:509", "Err:522",
})  # fmt: skip
"""Texts by which spreadsheet programs show that a formula has no value."""


@cache
def load(name: str, package: str = __package__) -> dict[str, Any]:
    """Return the content of a table of a package, such as "words.toml"."""
    return tomllib.loads(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1024)
def plain(cell: Cell) -> str:
    """Normalise a word's width and case, and drop spaces, invisible characters and stops at its end.

    Cached, because a file repeats few words very often.
    """
    return _SPACES_AND_STOPS.sub("", unicodedata.normalize("NFKC", str(cell))).lower()


@cache
def _countries() -> dict[str, str]:
    found = {plain(name): code for code, names in load("countries.toml").items() for name in names}
    return found | {code.lower(): code for code in load("countries.toml")}


def find_country(word: str) -> str | None:
    """Return the alpha-3 code of ISO 3166-1 for a code, a Chinese or an English name; None if it is unknown."""
    return _countries().get(plain(word))


def find_invisible(text: str) -> str | None:
    """Return the name of the first character that cannot be seen; None if there is none."""
    if text.isascii():
        return None
    found = next((character for character in text if unicodedata.category(character) in {"Cf", "Co", "Cn"}), None)
    return None if found is None else f"U+{ord(found):04X} {unicodedata.name(found, 'without a name')}"
