"""The catalogue: texts in Chinese by their English templates, read from `hutong.mo` when first asked for."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path
from typing import Any

from hutong_texts.text import Text

ENGLISH = "en"
CHINESE = "zh_CN"
"""The languages of texts, as gettext names them."""
DOMAIN = "hutong"
LOCALE = Path(__file__).parent / "locale"
"""The folder of catalogues, in the layout of gettext."""


@cache
def load(language: str) -> gettext.NullTranslations:
    """Return the catalogue of a language. The catalogue for English returns every template unchanged."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    return gettext.translation(DOMAIN, LOCALE, [language])


def translate(message: str, language: str) -> str:
    """Return a text in a language. A text that the catalogue lacks stays in English.

    A plain string is looked up as a template without values.
    """
    if language == ENGLISH or not message:
        return str(message)
    template = message.template if isinstance(message, Text) else message
    found = load(language).gettext(template) if template else ""
    if not isinstance(message, Text) or not message.values:
        return found
    return found.format_map({name: _translate_value(value, language) for name, value in message.values.items()})


def translate_word(word: str, language: str) -> str | None:
    """Return the Chinese of an enum value by its full name, "PURPOSE_HOTEL"; None if the catalogue lacks it."""
    if language == ENGLISH:
        return None
    found = load(language).pgettext("word", word)
    return None if found == word else found


def _translate_value(value: Any, language: str) -> Any:
    return translate(value, language) if isinstance(value, Text) else value
