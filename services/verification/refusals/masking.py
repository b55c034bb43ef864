"""What people write on the message board, without what names anybody. Pure."""

from __future__ import annotations

import re
import unicodedata

from services.domain.subject import holds_resident_number, mask_resident_numbers

_BETWEEN = r"[\W_]{0,4}"
"""What people write between the characters of a number or the parts of a name."""
_GROUPED_NUMBER = re.compile(rf"(?<!\d)(?=((?:\d{_BETWEEN}){{17}}[\dXx\uff38\uff58])(?!\d))")


def mask_identity(text: str, number: str = "", name: str = "") -> str:
    """A person's own words without what names them: the document's number, the name, and any resident ID number.

    However they are spelled: in capitals or not, in full width, in groups with spaces or hyphens between them.
    """
    for known in (number.strip(), name.strip()):
        if len(known) > 1:
            text = text.replace(known, _starred(known))
    for pattern in (_spelled(number), _spelled(name, whole=True)):
        if pattern is not None:
            text = pattern.sub(lambda match: _starred(match.group()), text)
    text = mask_resident_numbers(text)
    # A year or a count may stand before a number, and seem to be its beginning.
    spans = [match.span(1) for match in _GROUPED_NUMBER.finditer(text) if _is_resident_number(match[1])]
    for start, end in spans:
        text = text[:start] + _starred(text[start:end]) + text[end:]
    return text


def _starred(text: str) -> str:
    return text[0] + "*" * (len(text) - 1)


def _letters_and_digits(text: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKC", text) if character.isalnum())


def _spelled(text: str, *, whole: bool = False) -> re.Pattern[str] | None:
    """All spellings of a number or name; None for one too short to name anybody. `whole`: as words of their own."""
    characters = _letters_and_digits(text)
    if len(characters) < 2:
        return None
    pattern = _BETWEEN.join(f"[{character}{_full_width(character)}]" for character in characters)
    if whole and characters.isascii():
        # "Li" names nobody in "police".
        pattern = rf"(?<![A-Za-z]){pattern}(?![A-Za-z])"
    return re.compile(pattern, re.IGNORECASE)


def _full_width(character: str) -> str:
    """An ASCII character as East Asian keyboards also write it; nothing for any other."""
    return chr(ord(character) + 0xFEE0) if character.isascii() else ""


def _is_resident_number(text: str) -> bool:
    return holds_resident_number(_letters_and_digits(text))
