"""In which encoding a text file is written."""

from __future__ import annotations

import codecs
from pathlib import Path

from hutong_client.tables.rows import NotATable

_CHUNK = 1 << 20
_MOST_NULS = 0.1
"""A file of which more is NUL is no text. Fewer are damage, which is told for the rows that have it."""


def detect_encoding(path: Path) -> str:
    """UTF-8 (with or without a mark), UTF-16 with a mark, or GB18030, which Chinese Excel writes by default.

    The whole file is read: text in GB18030 can look like UTF-8 for a long while.

    Raises:
        NotATable: it is in none of them.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    else:
        candidates = ["utf-8-sig", "gb18030"]
    for encoding in candidates:
        if _decodes(path, encoding):
            return encoding
    raise NotATable("the file is not text in UTF-8 or GB18030; in Excel save it as “CSV UTF-8” and give that")


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    characters = nuls = 0
    with path.open("rb") as file:
        try:
            while chunk := file.read(_CHUNK):
                text = decoder.decode(chunk)
                characters += len(text)
                nuls += text.count("\x00")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return nuls <= characters * _MOST_NULS
