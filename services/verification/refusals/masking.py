"""Masks identities in the free text of reported refusals and their answers. Pure."""

from __future__ import annotations

import re
import unicodedata

from services.domain.subject import holds_resident_number, mask_resident_numbers, mask_telephone_numbers

_BETWEEN = r"[\W_]{0,4}"
"""Separators between the characters of a number or a name: up to four spaces, punctuation marks or underscores."""
_GROUPED_NUMBER = re.compile(rf"(?<!\d)(?=((?:\d{_BETWEEN}){{17}}[\dXx\uff38\uff58])(?!\d))")
"""An 18-character resident ID number with separators. The lookahead finds matches that overlap."""


def mask_identity(text: str, number: str = "", name: str = "") -> str:
    """Return a text in which the given number, the given name, resident ID and telephone numbers are masked.

    Capital and small letters, full-width characters, and groups separated by spaces or hyphens are recognised.
    """
    for known in (number.strip(), name.strip()):
        if len(known) > 1:
            text = text.replace(known, _starred(known))
    for pattern in (_spelled(number), _spelled(name, whole=True)):
        if pattern is not None:
            text = pattern.sub(lambda match: _starred(match.group()), text)
    text = mask_resident_numbers(text)
    # Every start is tried, because digits before a number, such as a year, may look like the beginning of the number.
    spans = [match.span(1) for match in _GROUPED_NUMBER.finditer(text) if _is_resident_number(match[1])]
    for start, end in spans:
        text = text[:start] + _starred(text[start:end]) + text[end:]
    return mask_telephone_numbers(text)


def _starred(text: str) -> str:
    return text[0] + "*" * (len(text) - 1)


def _letters_and_digits(text: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKC", text) if character.isalnum())


def _spelled(text: str, *, whole: bool = False) -> re.Pattern[str] | None:
    """Return a pattern for all spellings of a number or name, or None if the text is too short to identify a person.

    `whole` matches Latin text only as whole words.
    """
    characters = _letters_and_digits(text)
    if len(characters) < 2:
        return None
    pattern = _BETWEEN.join(f"[{character}{_full_width(character)}]" for character in characters)
    if whole and characters.isascii():
        # The name "Li" is not masked in "police".
        pattern = rf"(?<![A-Za-z]){pattern}(?![A-Za-z])"
    return re.compile(pattern, re.IGNORECASE)


def _full_width(character: str) -> str:
    """Return the full-width form of an ASCII character, or an empty text for any other character."""
    return chr(ord(character) + 0xFEE0) if character.isascii() else ""


def _is_resident_number(text: str) -> bool:
    return holds_resident_number(_letters_and_digits(text))
