"""Layout of texts on a terminal, where a Chinese character takes two columns."""

from __future__ import annotations

import textwrap
import unicodedata

_CLOSING = "，。；：、）？！”》,.;:)]"
_OPENING = "（“《(["


def width_of(text: str) -> int:
    """Return the number of columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_width_of_character(character) for character in text)


def _width_of_character(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def pad(text: str, width: int) -> str:
    """Return a text with spaces behind it, so that it takes at least `width` columns."""
    return text + " " * (width - width_of(text))


class _Wide(str):
    """A word for the wrapper. Its length is the number of columns that it takes."""

    __slots__ = ()

    def __len__(self) -> int:
        return width_of(str(self))


class _Wrapper(textwrap.TextWrapper):
    """Wrapper that may break a line between Chinese characters."""

    def _split(self, text: str) -> list[str]:
        chunks: list[str] = []
        for chunk in super()._split(text):
            piece = ""
            for character in chunk:
                wide = width_of(character) == 2
                fits = character in _CLOSING or (piece and piece[-1] in _OPENING)
                if piece and not fits and (wide or width_of(piece[-1]) == 2):
                    chunks.append(_Wide(piece))
                    piece = ""
                piece += character
            chunks.append(_Wide(piece))
        return chunks


def wrap(text: str, width: int) -> list[str]:
    """Wrap a paragraph to lines of at most `width` columns."""
    wrapper = _Wrapper(max(width, 20), break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(" ".join(text.split()))
