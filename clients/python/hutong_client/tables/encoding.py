"""In which encoding a text file is written."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hutong_client.tables.rows import NotATable

_CHUNK = 1 << 20
_MOST_NULS = 0.1
"""A file of which more is NUL is no text. Fewer are damage, which is told for the rows that have it."""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_WORDS_LOOKED_AT = 100_000
"""So many words tell what a file is."""
_CHANCE = 0.1
"""Of GB18030 one word in ten thousand reads as Chinese in UTF-8 by chance. Where more of the words do it is UTF-8."""


def detect_encoding(path: Path) -> str:
    """UTF-8 (with or without a mark), UTF-16 with a mark, or GB18030, which Chinese Excel writes by default.

    The whole file is read: text in GB18030 can look like UTF-8 for a long while. Damaged UTF-8 is never taken for
    GB18030, in which nearly everything is some text: all names in it would be others.

    Raises:
        NotATable: it is in none of them, or damaged.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    else:
        candidates = ["utf-8-sig", "gb18030"]
    for encoding in candidates:
        flaw = _find_flaw(path, encoding)
        if flaw is None:
            return encoding
        if encoding == "utf-8-sig" and _is_damaged(path, flaw, marked=start.startswith(codecs.BOM_UTF8)):
            raise NotATable(
                f"the file is damaged: it is text in UTF-8, and line {flaw.line} (as a text editor counts) holds bytes "
                "that are none; export the file anew, or mend the line and save the file as “CSV UTF-8”"
            )
    raise NotATable("the file is not text in UTF-8 or GB18030; in Excel save it as “CSV UTF-8” and give that")


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Why a file is not text in some encoding: bytes in a line, at the end of the file or before; or NULs."""

    line: int = 0
    at_end: bool = False


def _find_flaw(path: Path, encoding: str) -> _Flaw | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    characters = nuls = 0
    breaks = {"\n": 0, "\r": 0}
    for chunk, final in _read_chunks(path):
        try:
            text = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            # The decoder's object is the chunk behind what it kept of the one before.
            good = error.object[: error.start].decode(encoding, "replace")
            lines = (count + good.count(end) for end, count in breaks.items())
            return _Flaw(1 + max(lines), error.reason == "unexpected end of data")
        characters += len(text)
        nuls += text.count("\x00")
        for end in breaks:
            breaks[end] += text.count(end)
    return _Flaw() if nuls > characters * _MOST_NULS else None


def _is_damaged(path: Path, flaw: _Flaw, *, marked: bool) -> bool:
    """Whether a file that is not wholly UTF-8 was meant to be: by its mark, its cut-off end or its other words."""
    if not flaw.line:
        return False
    if marked or flaw.at_end:
        return True
    words = list(islice(_read_words(path), _WORDS_LOOKED_AT))
    return sum(map(_is_chinese_in_utf8, words)) > len(words) * _CHANCE


def _read_words(path: Path) -> Iterator[bytes]:
    """What stands in the file between characters of ASCII."""
    for chunk, _ in _read_chunks(path):
        yield from _BEYOND_ASCII.findall(chunk)


def _is_chinese_in_utf8(word: bytes) -> bool:
    try:
        return any("\u3400" <= character <= "\u9fff" for character in word.decode())
    except UnicodeDecodeError:
        return False


def _read_chunks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The file's parts, each with whether it is the last; the last is empty."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk, False
    yield b"", True
