"""Ask services for texts in the language of the process, by the metadata `accept-language`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hutong_texts import ENGLISH, current_language

ACCEPT_LANGUAGE = "accept-language"
"""The metadata key by which a call asks for texts in a language."""


def with_language(metadata: Iterable[tuple[str, str | bytes]] | None) -> Any:
    """Return the metadata with the language of the process, unless that is English or the metadata names one."""
    language = current_language()
    given = tuple(metadata or ())
    if language == ENGLISH or any(key == ACCEPT_LANGUAGE for key, _ in given):
        return metadata
    return (*given, (ACCEPT_LANGUAGE, language.replace("_", "-")))
