"""Detect the encoding of a text file."""

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
"""A file with a larger share of NULs is not text. Fewer NULs are damage, which is reported for the rows with NULs."""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_WORDS_LOOKED_AT = 100_000
"""Number of words that are examined, which is enough to distinguish the two encodings."""
_CHANCE = 0.1
"""A file with a larger share of words that are Chinese in UTF-8 is UTF-8. In GB18030 one in 10,000 is so by chance."""


def detect_encoding(path: Path) -> str:
    """Detect UTF-8 with or without a byte-order mark, UTF-16 with one, or GB18030, the default of Chinese Excel.

    The whole file is read, because a long beginning of GB18030 text can be valid UTF-8. Damaged UTF-8 is never read as
    GB18030: nearly all bytes are valid GB18030, and all names would be wrong.

    Raises:
        NotATable: the file has none of these encodings, or is damaged.
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
                f"the file is damaged: it is text in UTF-8, but line {flaw.line} (as a text editor counts) has bytes "
                "that are not; export the file again, or correct the line and save the file as “CSV UTF-8”"
            )
    raise NotATable("the file is not text in UTF-8 or GB18030; in Excel save it as “CSV UTF-8” and give that")


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Why a file is not text in an encoding: bad bytes in a line (1 or more), or too many NULs (line 0)."""

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
            # `error.object` is what the decoder kept of the previous chunk, followed by this chunk.
            good = error.object[: error.start].decode(encoding, "replace")
            lines = (count + good.count(end) for end, count in breaks.items())
            return _Flaw(1 + max(lines), error.reason == "unexpected end of data")
        characters += len(text)
        nuls += text.count("\x00")
        for end in breaks:
            breaks[end] += text.count(end)
    return _Flaw() if nuls > characters * _MOST_NULS else None


def _is_damaged(path: Path, flaw: _Flaw, *, marked: bool) -> bool:
    """Check whether a file with invalid UTF-8 is damaged UTF-8, by its byte-order mark, cut-off end or other words."""
    if not flaw.line:
        return False
    if marked or flaw.at_end:
        return True
    words = list(islice(_read_words(path), _WORDS_LOOKED_AT))
    return sum(map(_is_chinese_in_utf8, words)) > len(words) * _CHANCE


def _read_words(path: Path) -> Iterator[bytes]:
    """Yield the runs of bytes beyond ASCII."""
    for chunk, _ in _read_chunks(path):
        yield from _BEYOND_ASCII.findall(chunk)


def _is_chinese_in_utf8(word: bytes) -> bool:
    try:
        return any("\u3400" <= character <= "\u9fff" for character in word.decode())
    except UnicodeDecodeError:
        return False


def _read_chunks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield the chunks of the file with whether each is the last. The last chunk is empty."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk, False
    yield b"", True
