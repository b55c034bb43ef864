"""Detect the encoding of a text file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from hutong_texts import tr

from hutong_client.tables.columns.vocabulary import ALIASES, RESULTS
from hutong_client.tables.rows import NotATable
from hutong_client.tables.words import load

_CHUNK = 1 << 20
_MOST_NULS = 0.1
"""A file with a larger share of NULs is not text. Fewer NULs are damage, which is reported for the rows with NULs."""
_START = 1 << 16
"""Bytes in which titles are looked for."""
_TITLES_NEEDED = 2
"""The number of known titles that prove GB18030. Two cells are never titles by chance."""
_WORDS_NEEDED = 0.05
"""If no titles show the encoding: the share of the cells beyond ASCII that must be known words."""
_CELL = re.compile(rb'(?:^|(?<=[,;:\t\r\n"]))[ *]*([\x80-\xff][^,;:\t\r\n" *]*)')
"""A cell that begins with a character beyond ASCII."""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_WORDS_LOOKED_AT = 100_000
"""Number of words that are examined, which is enough to distinguish the two encodings."""
_CHANCE = 0.1
"""A file is UTF-8 if more than this share of its words is Chinese when read as UTF-8.

Of the words of a GB18030 file, one in 10,000 is by chance Chinese when read as UTF-8.
"""


def detect_encoding(path: Path, given: str = "") -> str:
    """Return the given encoding if the file is text in it; without one, detect it.

    The function detects UTF-8 and UTF-16 with or without a byte-order mark, and GB18030, the default of Chinese
    Excel. Nearly all bytes are valid GB18030, also those of Big5, Shift-JIS, EUC-KR and Windows-1251, so a GB18030 file
    must contain known titles or words.

    The whole file is read, because a long beginning of GB18030 text can be valid UTF-8. Damaged UTF-8 is never read as
    GB18030, because all names would be wrong.

    Raises:
        NotATable: the file has none of these encodings, is damaged, or its encoding cannot be known.
    """
    if given:
        flaw = _find_flaw(path, given)
        if flaw is not None:
            where = (
                tr("line {line} has bytes that are not", line=flaw.line) if flaw.line else tr("it has NUL characters")
            )
            raise NotATable(
                tr(
                    "the file is not text in {given}: {where}; give its encoding with --encoding",
                    given=given,
                    where=where,
                )
            )
        return "utf-8-sig" if given == "utf-8" else given
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    elif unmarked := _find_utf_16(path):
        candidates = [unmarked]
    else:
        candidates = ["utf-8-sig", "gb18030"]
    for encoding in candidates:
        flaw = _find_flaw(path, encoding)
        if flaw is None and encoding == "gb18030" and not _shows_gb18030(path):
            raise NotATable(
                tr(
                    "the file is not UTF-8, and none of its titles or words shows what it is; give its "
                    "encoding with --encoding, as gb18030, big5, shift_jis, euc_kr or cp1251, or save "
                    "the file as “CSV UTF-8”"
                )
            )
        if flaw is None:
            return encoding
        if encoding == "utf-8-sig" and _is_damaged(path, flaw, marked=start.startswith(codecs.BOM_UTF8)):
            raise NotATable(
                tr(
                    "the file is damaged: it is text in UTF-8, but line {line} (as a text editor counts) "
                    "has bytes that are not; export the file again, or correct the line and save the "
                    "file as “CSV UTF-8”",
                    line=flaw.line,
                )
            )
    raise NotATable(
        tr("the file is not text in UTF-8 or GB18030; give its encoding with --encoding, or save it as “CSV UTF-8”")
    )


def _find_utf_16(path: Path) -> str:
    """Return the form of UTF-16 of a file without a byte-order mark; empty if it is in another encoding.

    Digits, separators and ends of lines have a NUL as one of their two bytes, always on the same side. Text in other
    encodings has no NULs.
    """
    with path.open("rb") as file:
        start = file.read(_START)
    low, high = start[0::2].count(0), start[1::2].count(0)
    if low + high <= len(start) * _MOST_NULS:
        return ""
    form = "utf-16-le" if low == 0 else "utf-16-be" if high == 0 else ""
    text = start.decode(form, "replace") if form else "\x00"
    return "" if any(character < " " and character not in "\t\r\n" for character in text) else form


def _shows_gb18030(path: Path) -> bool:
    """Check whether known Chinese titles or words stand in the file, as cells of GB18030 text.

    Cells are found by bytes. The bytes of separators are never part of a character in the encodings in question.
    """
    titles, words = _gb18030_words()
    with path.open("rb") as file:
        if sum(cell in titles for cell in _CELL.findall(file.read(_START))) >= _TITLES_NEEDED:
            return True
    known = foreign = 0
    rest = b""
    for chunk, final in _read_chunks(path):
        text = rest + chunk
        cut = len(text) if final else text.rfind(b"\n") + 1
        rest = text[cut:]
        for cell in _CELL.findall(text[:cut]):
            foreign += 1
            known += cell in words
    return known > 0 and known >= foreign * _WORDS_NEEDED


@cache
def _gb18030_words() -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return the known titles and the known words in GB18030."""
    titles = {name for names in (*ALIASES.values(), *RESULTS.fallbacks.values()) for name in names}
    table = load("words.toml")
    words = {
        word for kind in ("outcomes", "documents", "specimens") for names in table[kind].values() for word in names
    }
    words |= {
        *table["rechecks"]["words"],
        *(f"新{name}" for name in ("冠病毒核酸检测", "型冠状病毒核酸检测", "冠核酸检测")),
    }
    return tuple(
        frozenset(word.encode("gb18030") for word in known if len(word) > 1 and not word.isascii())
        for known in (titles, titles | words)
    )  # type: ignore[return-value]


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
    """Check whether a file with invalid UTF-8 is damaged UTF-8.

    A byte-order mark, a cut-off end or the other words show it.
    """
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
    """Yield each chunk of the file, and whether it is the last. The last chunk is empty."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk, False
    yield b"", True
